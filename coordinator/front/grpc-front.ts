import { Server, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { type Clock, systemClock } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import { defaultMaxMessageBytes, serverOptions } from '../../platform/grpc-options.js';
import { type GrpcFallback, openGrpcFallback } from '../../platform/http2/grpc-fallback.js';
import { GrpcUnaryServer } from '../../platform/http2/grpc-unary-server.js';
import { type ListenAddress, listenFailure } from '../../platform/listen-failure.js';
import { oipMethod, oipPackage, oipService } from '../../platform/oip/service.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { InferenceService, ServingObserver } from '../serving.js';
import { GrpcHealth, healthPackage } from './grpc-health.js';
import { unaryFailure } from './grpc-status.js';
import { inferMethod, transportError } from './infer-method.js';
import type { StatisticsSource } from './model-statistics.js';
import { oipHandlers } from './oip-handlers.js';
import { OpenStreams } from './open-streams.js';
import { transportRefusals } from './transport-refusals.js';

/** One more service for the same port. */
export interface GrpcService {
  /** Full name, as in `shoal.admin.v1.Admin`. */
  readonly name: string;
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** For reflection. */
  readonly packageDefinition: PackageDefinition;
}

export interface GrpcFrontOptions extends ListenAddress {
  readonly service: InferenceService;
  readonly statistics: StatisticsSource;
  readonly logger: Logger;
  readonly softwareVersion: string;
  /** Larger request messages are refused with REQUEST_TOO_LARGE. */
  readonly maxMessageBytes?: number;
  readonly extraServices?: readonly GrpcService[];
  /** Told of requests that never reached the service: broken or too large. */
  readonly observer?: Pick<ServingObserver, 'failed'>;
  readonly clock?: Clock;
}

/** A connection may have so many of the largest messages half sent or unread: far above what callers need. */
const heldMessages = 4;

export const oipServiceName = 'inference.GRPCInferenceService';

/**
 * The gRPC door: the Open Inference Protocol, grpc.health.v1, reflection, and what else it is given.
 * Serves from `start` until `drain`.
 *
 * One port, two servers. ModelInfer, the call that must be cheap, is served straight on HTTP/2
 * (`platform/http2/`); all others are tunnelled to a grpc-js server in this process, which has no port of its own.
 */
export class GrpcFront {
  readonly #options: GrpcFrontOptions;
  readonly #server: Server;
  readonly #health: GrpcHealth;
  readonly #streams = new OpenStreams();
  #fallback: GrpcFallback | undefined;
  #door: GrpcUnaryServer | undefined;

  constructor(options: GrpcFrontOptions) {
    this.#options = options;
    const { service, statistics, logger, softwareVersion, observer } = options;
    const extraServices = options.extraServices ?? [];
    this.#server = new Server({
      ...serverOptions({ maxMessageBytes: options.maxMessageBytes ?? defaultMaxMessageBytes }),
      // Statistics nobody here reads, counted anew for every call.
      'grpc.enable_channelz': 0,
      interceptors: [
        transportRefusals((error) => {
          // An expired call is under way in the service, which counts it.
          if (error.code !== 'DEADLINE_EXPIRED') observer?.failed('', '', error.code, 0);
        }),
        this.#streams.interceptor,
      ],
    });
    const handlers: UntypedServiceImplementation = oipHandlers({ service, statistics, logger, softwareVersion });
    this.#server.addService(oipService, handlers);
    this.#health = new GrpcHealth(['', oipServiceName], () => service.ready());
    this.#server.addService(this.#health.definition, this.#health.implementation);
    for (const { definition, implementation } of extraServices) this.#server.addService(definition, implementation);
    const described = Object.assign({}, oipPackage, healthPackage, ...extraServices.map((s) => s.packageDefinition));
    new ReflectionService(described).addToServer(this.#server);
  }

  /** @throws BAD_SETTING when the port cannot be had. */
  async start(): Promise<{ port: number }> {
    const { host, port, service, logger, observer, clock = systemClock } = this.#options;
    const maxMessageBytes = this.#options.maxMessageBytes ?? defaultMaxMessageBytes;
    this.#fallback = await openGrpcFallback(this.#server);
    this.#door = new GrpcUnaryServer({
      methods: new Map([[oipMethod.ModelInfer, inferMethod({ service, logger, observer, clock })]]),
      fallback: this.#fallback.connect,
      maxMessageBytes,
      limits: { maxUnfinishedBytes: heldMessages * maxMessageBytes, maxUnsentBytes: heldMessages * maxMessageBytes },
      clock,
      onRefused: (refusal) => {
        const error = transportError(refusal);
        observer?.failed('', '', error.code, 0);
        return unaryFailure(error);
      },
      onProtocolError: (peer, reason) => logger.warn({ peer, reason }, 'a caller broke the HTTP/2 protocol'),
      closing: unaryFailure(new ShoalError('DRAINING', 'This coordinator shut down before the answer was ready.')),
    });
    try {
      return await this.#door.listen(port, host);
    } catch (thrown) {
      await this.#fallback.close();
      this.#server.forceShutdown();
      throw listenFailure(thrown, this.#options, '--grpc-port');
    }
  }

  /**
   * Takes no new connections or calls and lets those under way finish, for at most `graceMs`; what is left
   * then is answered DRAINING. Streams that may last for ever (health watches, reflection) end at once.
   */
  async drain(graceMs: number): Promise<void> {
    this.#health.end();
    this.#streams.endAll();
    const calls = (await this.#door?.drain(graceMs)) ?? 0;
    if (calls > 0) this.#options.logger.warn({ calls, graceMs }, 'gRPC calls outlasted the grace period');
    await this.#fallback?.close();
    this.#server.forceShutdown();
  }
}
