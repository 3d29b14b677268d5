import type { AddressInfo } from 'node:net';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { type Clock, systemClock } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import { defaultMaxMessageBytes } from '../../platform/grpc-options.js';
import { type ListenAddress, listenFailure } from '../../platform/listen-failure.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { InferenceService, ServingObserver } from '../serving.js';
import { refusalOf, refuseConnection, sendError } from './http-errors.js';
import { httpInfer, type ModelRoute } from './http-infer.js';
import type { StatisticsSource } from './model-statistics.js';
import { modelMetadata, serverMetadata } from './oip-metadata.js';
import { lastWordsMs, settledWithin } from './settled-within.js';

export interface HttpFrontOptions extends ListenAddress {
  readonly service: InferenceService;
  readonly statistics: StatisticsSource;
  readonly logger: Logger;
  readonly softwareVersion: string;
  /** Larger bodies are refused with REQUEST_TOO_LARGE. */
  readonly maxMessageBytes?: number;
  /** Told of requests that never reached the service. */
  readonly observer?: Pick<ServingObserver, 'failed'>;
  readonly clock?: Clock;
}

/** A caller that takes longer to send its request is cut off; Node's own default. */
const requestTimeoutMs = 300_000;
const modelRoots = ['/v2/models/:model', '/v2/models/:model/versions/:version'];

/**
 * The HTTP door: the REST core of OIP V2 (health, metadata, infer with JSON tensors) and Triton's statistics, on the same service as
 * the gRPC door.
 */
export class HttpFront {
  readonly #options: HttpFrontOptions;
  readonly #app: FastifyInstance;
  readonly #underWay = new Set<FastifyReply>();

  constructor(options: HttpFrontOptions) {
    this.#options = options;
    const { logger, maxMessageBytes = defaultMaxMessageBytes } = options;
    this.#app = fastify({
      logger: false,
      bodyLimit: maxMessageBytes,
      requestTimeout: requestTimeoutMs,
      routerOptions: { ignoreTrailingSlash: true, maxParamLength: 1024 },
      frameworkErrors: (failure, request, reply) =>
        sendError(reply as FastifyReply, refusalOf(failure, request as FastifyRequest, maxMessageBytes), logger),
      clientErrorHandler: refuseConnection,
    });
    this.#app.setErrorHandler<Error>((thrown, request, reply) => {
      const isFramework = 'code' in thrown && String(thrown.code).startsWith('FST_');
      const refusal = isFramework ? refusalOf(thrown as never, request, maxMessageBytes) : thrown;
      // Fastify has set `connection: close`. To hang up on a caller that still sends would reset the connection, and
      // with it the answer on its way; left alone, Node reads the rest of the body and throws it away.
      if (refusal instanceof ShoalError && refusal.code === 'REQUEST_TOO_LARGE') reply.removeHeader('connection');
      sendError(reply, refusal, logger);
    });
    this.#app.setNotFoundHandler((request, reply) => {
      sendError(reply, new ShoalError('ROUTE_NOT_FOUND', `There is no ${request.method} ${request.url} here.`), logger);
    });
    // Bodies reach the handler as bytes, whatever they call themselves; clients differ in the type they send.
    this.#app.removeAllContentTypeParsers();
    this.#app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    this.#addRoutes();
  }

  /** @throws BAD_SETTING when the port cannot be had. */
  async start(): Promise<{ port: number }> {
    const { host, port } = this.#options;
    try {
      await this.#app.listen({ host, port });
    } catch (thrown) {
      throw listenFailure(thrown, this.#options, '--http-port');
    }
    return { port: (this.#app.server.address() as AddressInfo).port };
  }

  /**
   * Takes no new connections, lets requests under way finish for at most `graceMs`, answers DRAINING to what
   * is left then, and cuts off who does not take even that.
   */
  async drain(graceMs: number): Promise<void> {
    const { logger } = this.#options;
    const closed = this.#app.close();
    // Connections idle now are closed already; these would stay open after their answer.
    for (const reply of this.#underWay) reply.header('connection', 'close');
    if (await settledWithin(closed, graceMs)) return;
    logger.warn({ requests: this.#underWay.size, graceMs }, 'HTTP requests outlasted the grace period');
    const error = new ShoalError('DRAINING', 'This coordinator shut down before the answer was ready.');
    for (const reply of this.#underWay) sendError(reply, error, logger);
    if (!(await settledWithin(closed, lastWordsMs))) this.#app.server.closeAllConnections();
    await closed;
  }

  #addRoutes(): void {
    const { service, statistics, logger, softwareVersion, observer, clock = systemClock } = this.#options;
    const app = this.#app;
    app.get('/v2/health/live', () => ({ live: true }));
    app.get('/v2/health/ready', (_request, reply) => {
      const ready = service.ready();
      reply.code(ready ? 200 : 503).send({ ready });
    });
    app.get('/v2', () => serverMetadata(softwareVersion));
    app.get('/v2/models/stats', () => ({ model_stats: statistics.modelStatistics('', '') }));
    const infer = httpInfer({ service, logger, observer, clock, underWay: this.#underWay });
    for (const root of modelRoots) {
      app.get<ModelRoute>(root, ({ params }) => {
        const { spec, versions } = service.describe(params.model, params.version ?? '');
        return modelMetadata(spec, versions);
      });
      app.get<ModelRoute>(`${root}/ready`, ({ params }, reply) => {
        const ready = service.modelReady(params.model, params.version ?? '');
        reply.code(ready ? 200 : 503).send({ name: params.model, ready });
      });
      app.get<ModelRoute>(`${root}/stats`, ({ params }) => ({
        model_stats: statistics.modelStatistics(params.model, params.version ?? ''),
      }));
      app.post<ModelRoute>(`${root}/infer`, infer);
    }
  }
}
