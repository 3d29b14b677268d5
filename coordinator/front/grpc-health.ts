import type {
  handleUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { service as healthService, protoPath } from 'grpc-health-check';
import { GrpcStatus } from '../../core/errors.js';

type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';
interface HealthRequest {
  readonly service: string;
}
interface HealthResponse {
  readonly status: ServingStatus;
}
type Watch = ServerWritableStream<HealthRequest, HealthResponse>;

/** For reflection. */
export const healthPackage: PackageDefinition = loadSync(protoPath);

/** How late a watcher may learn of a change. A check asks at that very moment. */
const watchIntervalMs = 250;

/**
 * grpc.health.v1. The package's own implementation keeps a copy of the status that somebody must set in
 * time; this one asks `ready` at each check, and looks regularly only while somebody watches.
 */
export class GrpcHealth {
  readonly definition: ServiceDefinition = healthService;
  readonly #names: ReadonlySet<string>;
  readonly #ready: () => boolean;
  readonly #watches = new Map<Watch, ServingStatus>();
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(names: readonly string[], ready: () => boolean) {
    this.#names = new Set(names);
    this.#ready = ready;
  }

  readonly implementation: UntypedServiceImplementation = {
    check: ((call, callback) => {
      const status = this.#statusOf(call.request.service);
      if (status !== 'SERVICE_UNKNOWN') callback(null, { status });
      else {
        callback({ code: GrpcStatus.NOT_FOUND, details: `There is no service "${call.request.service}" here.` });
      }
    }) satisfies handleUnaryCall<HealthRequest, HealthResponse>,
    watch: (call: Watch) => this.#watch(call),
    list: ((_call, callback) => {
      const entries = [...this.#names].map((name) => [name, { status: this.#statusOf(name) }] as const);
      callback(null, { statuses: Object.fromEntries(entries) });
    }) satisfies handleUnaryCall<unknown, { statuses: Record<string, HealthResponse> }>,
  };

  /** From now on NOT_SERVING, whatever `ready` says. */
  end(): void {
    this.#ended = true;
    this.#tellWatchers();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #statusOf(name: string): ServingStatus {
    if (!this.#names.has(name)) return 'SERVICE_UNKNOWN';
    return !this.#ended && this.#ready() ? 'SERVING' : 'NOT_SERVING';
  }

  #watch(call: Watch): void {
    const status = this.#statusOf(call.request.service);
    this.#watches.set(call, status);
    call.on('cancelled', () => {
      this.#watches.delete(call);
      if (this.#watches.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
    call.write({ status });
    if (!this.#ended) this.#timer ??= setInterval(() => this.#tellWatchers(), watchIntervalMs).unref();
  }

  #tellWatchers(): void {
    for (const [call, told] of this.#watches) {
      const status = this.#statusOf(call.request.service);
      if (status === told) continue;
      this.#watches.set(call, status);
      call.write({ status });
    }
  }
}
