import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { type Clock, systemClock } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import { defaultMaxMessageBytes, serverOptions } from '../../platform/grpc-options.js';
import { type ListenAddress, listenFailure } from '../../platform/listen-failure.js';
import { oipPackage, oipService } from '../../platform/oip/service.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { InferenceService, ServingObserver } from '../serving.js';
import { GrpcHealth, healthPackage } from './grpc-health.js';
import { grpcStatus } from './grpc-status.js';
import { HeldBytes } from './held-bytes.js';
import { oipHandlers } from './oip-handlers.js';
import { OpenStreams } from './open-streams.js';
import { lastWordsMs, settledWithin } from './settled-within.js';
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
  readonly logger: Logger;
  readonly softwareVersion: string;
  /** Larger request messages are refused with REQUEST_TOO_LARGE. */
  readonly maxMessageBytes?: number;
  readonly extraServices?: readonly GrpcService[];
  /** Told of requests that never reached the service: broken or too large. */
  readonly observer?: Pick<ServingObserver, 'failed'>;
  readonly clock?: Clock;
}

/** A connection may have so many of the largest messages under way or unread: far above what callers need. */
const heldMessages = 4;

export const oipServiceName = 'inference.GRPCInferenceService';

/**
 * The gRPC door: the Open Inference Protocol, grpc.health.v1, reflection, and what else it is given.
 * Serves from `start` until `drain`.
 */
export class GrpcFront {
  readonly #options: GrpcFrontOptions;
  readonly #server: Server;
  readonly #health: GrpcHealth;
  readonly #streams = new OpenStreams();
  readonly #underWay = new Set<sendUnaryData<Buffer>>();

  constructor(options: GrpcFrontOptions) {
    this.#options = options;
    const { service, logger, softwareVersion, observer, clock = systemClock } = options;
    const extraServices = options.extraServices ?? [];
    const maxMessageBytes = options.maxMessageBytes ?? defaultMaxMessageBytes;
    this.#server = new Server({
      ...serverOptions({ maxMessageBytes }),
      // An answer's size is the model's affair.
      'grpc.max_send_message_length': -1,
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
    this.#server.addService(
      oipService,
      oipHandlers({
        service,
        logger,
        softwareVersion,
        observer,
        clock,
        underWay: this.#underWay,
        held: new HeldBytes(heldMessages * maxMessageBytes),
      }) as UntypedServiceImplementation,
    );
    this.#health = new GrpcHealth(['', oipServiceName], () => service.ready());
    this.#server.addService(this.#health.definition, this.#health.implementation);
    for (const { definition, implementation } of extraServices) this.#server.addService(definition, implementation);
    const described = Object.assign({}, oipPackage, healthPackage, ...extraServices.map((s) => s.packageDefinition));
    new ReflectionService(described).addToServer(this.#server);
  }

  /** @throws BAD_SETTING when the port cannot be had. */
  start(): Promise<{ port: number }> {
    const { host, port } = this.#options;
    const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (failure, boundPort) => {
        if (failure !== null) reject(listenFailure(failure, this.#options, '--grpc-port'));
        else resolve({ port: boundPort });
      });
    });
  }

  /**
   * Takes no new connections or calls and lets those under way finish, for at most `graceMs`; what is left
   * then is answered DRAINING. Streams that may last for ever (health watches, reflection) end at once.
   */
  async drain(graceMs: number): Promise<void> {
    const { logger } = this.#options;
    this.#health.end();
    const closed = new Promise<void>((resolve) => {
      this.#server.tryShutdown((failure) => {
        if (failure !== undefined) logger.warn({ err: failure }, 'the gRPC server closed with an error');
        resolve();
      });
    });
    this.#streams.endAll();
    if (await settledWithin(closed, graceMs)) return;
    const calls = [...this.#underWay];
    logger.warn({ calls: calls.length, graceMs }, 'gRPC calls outlasted the grace period');
    const status = grpcStatus(new ShoalError('DRAINING', 'This coordinator shut down before the answer was ready.'));
    for (const callback of calls) callback(status);
    // Destroying a session that is closing leaves its peer waiting for answers, so this is for peers that are gone.
    if (!(await settledWithin(closed, lastWordsMs))) this.#server.forceShutdown();
  }
}
