import {
  Client,
  type ClientDuplexStream,
  credentials,
  type MethodDefinition,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { LinkEvents, LinkSession, ToWorker, WorkerEndpoint } from '../../core/link.js';
import { channelOptions } from '../grpc-options.js';
import { decodeToCoordinator, decodeToWorker, encodeToCoordinator, encodeToWorker } from './frames.js';

const asIs = (bytes: Buffer): Buffer => bytes;

/** Frames pass through gRPC as they are: our own codec slices the tensors instead of copying them. */
const openMethod: MethodDefinition<Buffer, Buffer> = {
  path: '/shoal.link.v1.Link/Open',
  requestStream: true,
  responseStream: true,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};

export const linkService: ServiceDefinition = { Open: openMethod };

/** The worker's end: every stream becomes one session of `worker`. */
export function linkImplementation(worker: WorkerEndpoint): UntypedServiceImplementation {
  return {
    Open: (stream: ServerDuplexStream<Buffer, Buffer>) => {
      let open = true;
      const end = (): void => {
        if (!open) return;
        open = false;
        session.close();
      };
      const session = worker.open({
        message: (message) => {
          if (open) stream.write(encodeToCoordinator(message));
        },
        closed: () => {
          open = false;
          stream.end();
        },
      });
      stream.on('data', (frame: Buffer) => {
        let message: ToWorker;
        try {
          message = decodeToWorker(frame);
        } catch (thrown) {
          // A peer that speaks another language cannot be reasoned with; it may connect again.
          end();
          const details = thrown instanceof Error ? thrown.message : String(thrown);
          stream.emit('error', { code: status.INTERNAL, details });
          return;
        }
        session.send(message);
      });
      stream.on('end', () => {
        end();
        stream.end();
      });
      stream.on('cancelled', end);
      stream.on('close', end);
      stream.on('error', end);
    },
  };
}

/** The coordinator's end: each session is one stream on a connection of its own. */
export class GrpcWorkerEndpoint implements WorkerEndpoint {
  readonly #address: string;
  readonly #maxMessageBytes: number;

  /** `address` is HOST:PORT of a worker's link server. */
  constructor(address: string, maxMessageBytes: number) {
    this.#address = address;
    this.#maxMessageBytes = maxMessageBytes;
  }

  open(events: LinkEvents): LinkSession {
    const client = new Client(this.#address, credentials.createInsecure(), {
      ...channelOptions({ maxMessageBytes: this.#maxMessageBytes }),
      // A dead peer must be noticed while its callers still have budget, even if no batch is on its way.
      'grpc.keepalive_time_ms': 5000,
      'grpc.keepalive_timeout_ms': 5000,
      'grpc.keepalive_permit_without_calls': 1,
      // Two sessions to one worker must not share a connection, nor wait for one another's back-off.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
    });
    const stream: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(openMethod.path, asIs, asIs);
    let open = true;
    const closed = (reason: string): void => {
      if (!open) return;
      open = false;
      stream.cancel();
      client.close();
      events.closed(reason);
    };
    stream.on('data', (frame: Buffer) => {
      if (!open) return;
      try {
        events.message(decodeToCoordinator(frame));
      } catch (thrown) {
        closed(thrown instanceof Error ? thrown.message : String(thrown));
      }
    });
    // Both come when a stream breaks; the error's text says more than the end.
    stream.on('error', (error) => closed(`${this.#address}: ${error.message}`));
    stream.on('end', () => closed(`${this.#address} ended the link`));
    return {
      send: (message) => {
        if (open) stream.write(encodeToWorker(message));
      },
      close: () => {
        open = false;
        stream.end();
        stream.cancel();
        client.close();
      },
    };
  }
}
