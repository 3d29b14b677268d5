import {
  Client,
  credentials,
  type MethodDefinition,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { type CancelTimer, type Timers, wallClockMs } from '../../core/clock.js';
import { channelOptions } from '../grpc-options.js';
import { tunnelPeerHeader } from '../http2/stream-tunnel.js';
import { protoFile } from '../package-root.js';

interface AnnounceRequest {
  readonly worker_id: string;
  readonly address: string;
  readonly leaving: boolean;
}

interface AnnounceReply {
  readonly ttl_ms: number;
}

const definition = loadSync(protoFile('link.proto'), { keepCase: true, longs: Number, defaults: true });
const registryService = definition['shoal.link.v1.Registry'] as ServiceDefinition;

/** What a coordinator does with announcements. */
export interface Announcements {
  announced(workerId: string, address: string): void;
  left(workerId: string): void;
}

/** The coordinator's end, to be given to its gRPC server among its services. */
export function registryGrpcService(announcements: Announcements, ttlMs: number) {
  const implementation: UntypedServiceImplementation = {
    Announce: (call: ServerUnaryCall<AnnounceRequest, AnnounceReply>, reply: sendUnaryData<AnnounceReply>) => {
      const { worker_id: workerId, address, leaving } = call.request;
      if (leaving) announcements.left(workerId);
      else announcements.announced(workerId, address.startsWith(':') ? hostOf(call) + address : address);
      reply(null, { ttl_ms: ttlMs });
    },
  };
  return { name: 'shoal.link.v1.Registry', definition: registryService, implementation, packageDefinition: definition };
}

/** The host that an announcement came from. Behind the coordinator's own door the tunnel names it: see stream-tunnel.ts. */
function hostOf(call: ServerUnaryCall<AnnounceRequest, AnnounceReply>): string {
  const [tunnelled] = call.metadata.get(tunnelPeerHeader);
  const peer = typeof tunnelled === 'string' ? tunnelled : call.getPeer();
  return peer.slice(0, peer.lastIndexOf(':')).replace(/^ipv[46]:/, '');
}

/** Makes a worker known to one coordinator for as long as it lives. */
export class Announcer {
  readonly #client: Client;
  readonly #request: AnnounceRequest;
  readonly #timers: Timers;
  readonly #onChange: (reachable: boolean, reason: string) => void;
  #reachable: boolean | undefined;
  #cancel: CancelTimer | undefined;
  #stopped = false;

  /** `onChange` is told when the coordinator becomes reachable or stops being so. */
  constructor(options: {
    coordinator: string;
    workerId: string;
    address: string;
    timers: Timers;
    onChange: (reachable: boolean, reason: string) => void;
  }) {
    this.#client = new Client(options.coordinator, credentials.createInsecure(), {
      ...channelOptions(),
      // grpc-js would wait for up to two minutes; a coordinator that is back has no workers until then.
      'grpc.initial_reconnect_backoff_ms': 200,
      'grpc.max_reconnect_backoff_ms': 2000,
    });
    this.#request = { worker_id: options.workerId, address: options.address, leaving: false };
    this.#timers = options.timers;
    this.#onChange = options.onChange;
    this.#announce();
  }

  /** Says goodbye, so that the coordinator need not find out. Resolves when it was told or cannot be. */
  async leave(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await new Promise<void>((resolve) => this.#call({ ...this.#request, leaving: true }, 1000, () => resolve()));
    this.#client.close();
  }

  #announce(): void {
    this.#call(this.#request, 2000, (error, reply) => {
      if (this.#stopped) return;
      const reachable = error === null;
      if (reachable !== this.#reachable) {
        this.#reachable = reachable;
        this.#onChange(reachable, error?.message ?? '');
      }
      this.#cancel = this.#timers.after(reachable ? Math.max(100, (reply?.ttl_ms ?? 3000) / 3) : 500, () =>
        this.#announce(),
      );
    });
  }

  #call(request: AnnounceRequest, timeoutMs: number, done: (error: Error | null, reply?: AnnounceReply) => void): void {
    const { path, requestSerialize, responseDeserialize } = registryService.Announce as MethodDefinition<
      AnnounceRequest,
      AnnounceReply
    >;
    const deadline = new Date(wallClockMs() + timeoutMs);
    this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, done);
  }
}
