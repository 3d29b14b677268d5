import { Agent, type IncomingHttpHeaders, request } from 'node:http';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Whether the connection of the call before was used again. */
  readonly reused: boolean;
}

/** One caller with one kept connection. */
export class HttpCaller {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #address: string;
  #lastPort: number | undefined;

  /** `address`: `host:port`. */
  constructor(address: string) {
    this.#address = address;
  }

  send(method: 'GET' | 'POST', path: string, body: string | Buffer = '', headers: Record<string, string> = {}) {
    return new Promise<HttpAnswer>((resolve, reject) => {
      const call = request(
        `http://${this.#address}${path}`,
        { agent: this.#agent, method, headers: { 'content-type': 'application/json', ...headers } },
        (response) => {
          // The agent's own word for it, `reusedSocket`, is silent on requests that waited for the connection.
          const port = response.socket.localPort;
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const { statusCode = 0, headers: got } = response;
            const reused = port === this.#lastPort;
            this.#lastPort = port;
            resolve({ status: statusCode, headers: got, text: Buffer.concat(chunks).toString(), reused });
          });
        },
      );
      call.on('error', reject);
      call.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
