import { type Metadata, Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import type { ClientCall } from '../../../platform/http2/client-call.js';
import { GrpcUnaryClient, type GrpcUnaryClientOptions } from '../../../platform/http2/grpc-unary-client.js';
import type { CallHead } from '../../../platform/http2/request-blocks.js';
import type { UnaryOutcome } from '../../../platform/http2/unary-outcome.js';
import { asIs, paths, pattern, UnaryRig } from './unary-rig.js';

/** A server that the client's contract is tried on. */
export interface ServerKind {
  readonly name: string;
  start(maxStreams?: number): Promise<RunningServer>;
}

export interface RunningServer {
  readonly port: number;
  /** Calls of `hold` that have come and were not cancelled by their caller. */
  heldCalls(): number;
  /** The header of the last call of `echo`. */
  seenHeader(name: string): string | undefined;
  stop(): Promise<void>;
}

const ours: ServerKind = {
  name: 'our own server',
  start: async (maxStreams) => {
    let header: (name: string) => string | undefined = () => undefined;
    const rig = await UnaryRig.start(
      maxStreams === undefined ? {} : { limits: { maxConcurrentStreams: maxStreams } },
      undefined,
      (call) => {
        header = (name) => call.header(name);
      },
    );
    return {
      port: rig.port,
      heldCalls: () => rig.held.filter(({ cancelled }) => cancelled === 0).length,
      seenHeader: (name) => header(name),
      stop: () => rig.stop(),
    };
  },
};

const method = (path: string) => ({
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
});

type Call = ServerUnaryCall<Buffer, Buffer>;

const grpcJs: ServerKind = {
  name: 'grpc-js',
  start: async (maxStreams) => {
    let held = 0;
    let seen: Metadata | undefined;
    const server = new Server({
      'grpc.max_receive_message_length': -1,
      ...(maxStreams === undefined ? {} : { 'grpc.max_concurrent_streams': maxStreams }),
    });
    server.addService(
      { echo: method(paths.echo), sized: method(paths.sized), hold: method(paths.hold), fail: method(paths.fail) },
      {
        echo: (call: Call, reply: sendUnaryData<Buffer>) => {
          seen = call.metadata;
          const trailers = call.metadata.clone();
          trailers.set('shoal-timing', 'queue=1');
          reply(null, call.request, trailers);
        },
        sized: (call: Call, reply: sendUnaryData<Buffer>) =>
          reply(null, pattern(call.request.readUInt32BE(0), call.request.readUInt32BE(4))),
        hold: (call: Call) => {
          held++;
          call.on('cancelled', () => held--);
        },
        fail: (call: Call, reply: sendUnaryData<Buffer>) => {
          const metadata = call.metadata.clone();
          metadata.set('shoal-error', 'INVALID_REQUEST');
          metadata.set('grpc-status-details-bin', Buffer.from([0, 1, 2, 255]));
          reply({ code: 3, details: 'Eingabe "ξ" hat 100 % zu viel\nZeilen', metadata });
        },
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (failure, bound) =>
        failure === null ? resolve(bound) : reject(failure),
      );
    });
    return {
      port,
      heldCalls: () => held,
      seenHeader: (name) => seen?.get(name)[0]?.toString(),
      stop: () => {
        server.forceShutdown();
        return Promise.resolve();
      },
    };
  },
};

export const serverKinds = [ours, grpcJs];

export const connected = (port: number, options: Partial<GrpcUnaryClientOptions> = {}): Promise<GrpcUnaryClient> =>
  GrpcUnaryClient.connect({ address: `127.0.0.1:${port}`, ...options }, 5000);

/** One call as a promise, which can be cancelled. */
export function calling(
  client: GrpcUnaryClient,
  path: string | CallHead,
  message: Buffer,
  timeoutMs = Number.POSITIVE_INFINITY,
): Promise<UnaryOutcome> & { cancel(): void } {
  let call: ClientCall | undefined;
  const promise = new Promise<UnaryOutcome>((resolve) => {
    call = client.call(typeof path === 'string' ? client.head(path) : path, message, timeoutMs, resolve);
  });
  return Object.assign(promise, { cancel: () => call?.cancel() });
}
