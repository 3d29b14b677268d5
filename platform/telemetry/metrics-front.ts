import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ListenAddress, listenFailure } from '../listen-failure.js';
import type { Logger } from './logger.js';

export interface MetricsFrontOptions extends ListenAddress {
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
  readonly logger: Logger;
}

/** Serves `GET /metrics` for Prometheus and `GET /healthz` (this process is alive), on a port of its own. */
export class MetricsFront {
  readonly #options: MetricsFrontOptions;
  readonly #server: Server;

  constructor(options: MetricsFrontOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => {
      const path = (request.url ?? '').split('?', 1)[0];
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.setHeader('allow', 'GET, HEAD');
        answer(response, 405, 'text/plain', 'Only GET is served here.\n');
      } else if (path === '/metrics') this.#scrape(response);
      else if (path === '/healthz') answer(response, 200, 'text/plain', 'ok\n');
      else answer(response, 404, 'text/plain', 'Here are /metrics and /healthz only.\n');
    });
  }

  /** @throws BAD_SETTING when the port cannot be had. */
  start(): Promise<{ port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (thrown) => reject(listenFailure(thrown, this.#options, '--metrics-port')));
      this.#server.listen(this.#options.port, this.#options.host, () => {
        resolve({ port: (this.#server.address() as AddressInfo).port });
      });
    });
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #scrape(response: ServerResponse): void {
    const { metrics, logger } = this.#options;
    metrics.text().then(
      (text) => answer(response, 200, metrics.contentType, text),
      (thrown: unknown) => {
        logger.error({ err: thrown }, 'the metrics could not be collected');
        answer(response, 500, 'text/plain', 'The metrics could not be collected; the log says why.\n');
      },
    );
  }
}

function answer(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}
