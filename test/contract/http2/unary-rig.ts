import {
  Client,
  credentials,
  type Metadata,
  Server,
  type ServerDuplexStream,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type GrpcFallback, openGrpcFallback } from '../../../platform/http2/grpc-fallback.js';
import { GrpcUnaryServer, type GrpcUnaryServerOptions } from '../../../platform/http2/grpc-unary-server.js';
import type { UnaryCall, UnaryMethod, UnaryReply } from '../../../platform/http2/unary-method.js';

export const paths = {
  /** Answers the message. */
  echo: '/test.Unary/Echo',
  /** Answers as many bytes as the message says, in pieces; each byte depends on its place. */
  sized: '/test.Unary/Sized',
  /** Answers when the test says so. */
  hold: '/test.Unary/Hold',
  fail: '/test.Unary/Fail',
  throws: '/test.Unary/Throws',
  /** At the grpc-js server behind: a stream that answers each message twice. */
  twice: '/test.Streams/Twice',
  /** At the grpc-js server behind: unary, fails with metadata. */
  behind: '/test.Streams/Behind',
} as const;

export const asIs = (bytes: Buffer): Buffer => bytes;

/** The bytes that `sized` answers. */
export function pattern(bytes: number, seed: number): Buffer {
  const body = Buffer.allocUnsafe(bytes);
  for (let i = 0; i < bytes; i++) body[i] = (i * 7 + (i >> 8) + seed) & 0xff;
  return body;
}

export function sizedRequest(bytes: number, seed: number): Buffer {
  const request = Buffer.alloc(8);
  request.writeUInt32BE(bytes, 0);
  request.writeUInt32BE(seed, 4);
  return request;
}

export interface HeldCall {
  readonly call: UnaryCall;
  readonly reply: UnaryReply;
  readonly message: Buffer;
  cancelled: number;
}

const method = (path: string, isStream: boolean) => ({
  path,
  requestStream: isStream,
  responseStream: isStream,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
});

const behind: ServiceDefinition = { twice: method(paths.twice, true), behind: method(paths.behind, false) };

/** A lean server with a grpc-js server behind it, on a port of its own. */
export class UnaryRig {
  readonly held: HeldCall[] = [];
  readonly protocolErrors: string[] = [];
  readonly grpc = new Server();
  /** Metadata of the last call that came to the server behind. */
  seenBehind: Metadata | undefined;
  streamsBehind = 0;
  port = 0;
  #server: GrpcUnaryServer | undefined;
  #fallback: GrpcFallback | undefined;
  readonly #clients: Client[] = [];
  readonly #echoed: (call: UnaryCall) => void;

  private constructor(echoed: (call: UnaryCall) => void) {
    this.#echoed = echoed;
  }

  get server(): GrpcUnaryServer {
    if (this.#server === undefined) throw new Error('the rig has not been started');
    return this.#server;
  }

  static async start(
    options: Partial<GrpcUnaryServerOptions> = {},
    prepare: (grpc: Server) => void = () => undefined,
    echoed: (call: UnaryCall) => void = () => undefined,
  ): Promise<UnaryRig> {
    const rig = new UnaryRig(echoed);
    rig.grpc.addService(behind, rig.#behind());
    prepare(rig.grpc);
    rig.#fallback = await openGrpcFallback(rig.grpc);
    rig.#server = new GrpcUnaryServer({
      methods: rig.#methods(),
      fallback: rig.#fallback.connect,
      maxMessageBytes: 32 * 1024 * 1024,
      onProtocolError: (_peer, reason) => rig.protocolErrors.push(reason),
      onMethodError: (thrown) => ({ status: 13, message: `thrown: ${thrown}` }),
      ...options,
    });
    ({ port: rig.port } = await rig.#server.listen(0, '127.0.0.1'));
    return rig;
  }

  client(options: Record<string, string | number> = {}): Client {
    const client = new Client(`127.0.0.1:${this.port}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.server.drain(0);
    await this.#fallback?.close();
    this.grpc.forceShutdown();
  }

  #methods(): ReadonlyMap<string, UnaryMethod> {
    return new Map<string, UnaryMethod>([
      [
        paths.echo,
        (call, reply) => {
          this.#echoed(call);
          reply.answer({ body: [call.message], trailers: [['shoal-timing', 'queue=1']] });
          return undefined;
        },
      ],
      [
        paths.sized,
        (call, reply) => {
          const body = pattern(call.message.readUInt32BE(0), call.message.readUInt32BE(4));
          const third = Math.floor(body.length / 3);
          const pieces = [body.subarray(0, third), Buffer.alloc(0), body.subarray(third)];
          const timer = setImmediate(() => reply.answer({ body: pieces }));
          return () => clearImmediate(timer);
        },
      ],
      [
        paths.hold,
        (call, reply) => {
          const held: HeldCall = { call, reply, message: call.message, cancelled: 0 };
          this.held.push(held);
          return () => {
            held.cancelled++;
          };
        },
      ],
      [
        paths.fail,
        (_call, reply) => {
          reply.fail({
            status: 3,
            message: 'Eingabe "ξ" hat 100 % zu viel\nZeilen',
            trailers: [
              ['shoal-error', 'INVALID_REQUEST'],
              ['grpc-status-details-bin', Buffer.from([0, 1, 2, 255])],
            ],
          });
          return undefined;
        },
      ],
      [
        paths.throws,
        () => {
          throw new Error('a bug');
        },
      ],
    ]);
  }

  #behind(): UntypedServiceImplementation {
    return {
      twice: (call: ServerDuplexStream<Buffer, Buffer>) => {
        this.streamsBehind++;
        this.seenBehind = call.metadata;
        call.on('data', (message: Buffer) => {
          call.write(message);
          if (!call.write(message)) call.pause();
        });
        call.on('drain', () => call.resume());
        call.on('end', () => call.end());
        call.on('cancelled', () => {
          this.streamsBehind--;
        });
        call.on('error', () => call.destroy());
      },
      behind: (call: { metadata: Metadata; getPeer(): string }, reply: (error: Partial<ServiceError>) => void) => {
        this.seenBehind = call.metadata;
        const metadata = call.metadata.clone();
        metadata.set('from', 'behind');
        reply({ code: 9, details: 'behind says nö', metadata });
      },
    };
  }
}

export interface Outcome {
  readonly error: ServiceError | null;
  readonly answer: Buffer | undefined;
  trailer(name: string): unknown;
}

/** One unary call of grpc-js, with its trailers. */
export function unary(
  client: Client,
  path: string,
  message: Buffer,
  metadata: Metadata,
  options: { deadline?: number } = {},
): Promise<Outcome> & { cancel(): void } {
  let cancel = (): void => undefined;
  const promise = new Promise<Outcome>((resolve) => {
    let error: ServiceError | null = null;
    let answer: Buffer | undefined;
    const call = client.makeUnaryRequest(path, asIs, asIs, message, metadata, options, (failure, value) => {
      error = failure;
      answer = value;
    });
    cancel = () => call.cancel();
    call.on('status', ({ metadata: trailers }) => {
      setImmediate(() => resolve({ error, answer, trailer: (name) => trailers.get(name)[0] }));
    });
  });
  return Object.assign(promise, { cancel: () => cancel() });
}
