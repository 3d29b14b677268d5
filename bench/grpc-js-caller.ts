import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { wallClockMs } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import { type Random, seededRandom } from '../core/random.js';
import {
  type CallDone,
  type CallerOptions,
  codeName,
  headersOf,
  type InferCaller,
  inferPath,
  nobodyAnswers,
  timingTrailer,
} from './infer-caller.js';

const asIs = (bytes: Buffer): Buffer => bytes;

/** 8 MiB of flow-control window: large tensors are not to wait for window updates of the harness. */
const channelOptions = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc-node.flow_control_window': 8 * 1024 * 1024,
};

/** Calls by grpc-js: what a caller written in JavaScript usually costs. */
export class GrpcJsCaller implements InferCaller {
  readonly #clients: readonly Client[];
  readonly #metadata: readonly Metadata[];
  readonly #server: string;
  readonly #random: Random;
  #turn = 0;

  constructor(options: CallerOptions) {
    this.#server = options.server;
    this.#random = seededRandom(options.seed);
    this.#clients = Array.from(
      { length: options.connections },
      () => new Client(options.server, credentials.createInsecure(), channelOptions),
    );
    this.#metadata = headersOf(options).map((fields) => {
      const metadata = new Metadata();
      for (const [name, value] of fields) metadata.set(name, value);
      return metadata;
    });
  }

  async connect(timeoutMs: number): Promise<void> {
    await Promise.all(
      this.#clients.map(
        (client) =>
          new Promise<void>((resolve, reject) => {
            client.waitForReady(wallClockMs() + timeoutMs, (cause) => {
              if (cause === undefined) resolve();
              else reject(new ShoalError('NO_WORKER', nobodyAnswers(this.#server), { cause }));
            });
          }),
      ),
    );
  }

  send(body: Buffer, timeoutMs: number, done: CallDone): void {
    const client = this.#clients[this.#turn++ % this.#clients.length];
    const metadata = this.#metadata[this.#metadata.length > 1 ? this.#random.int(this.#metadata.length) : 0];
    if (client === undefined || metadata === undefined) return;
    let timing: string | undefined;
    const call = client.makeUnaryRequest(
      inferPath,
      asIs,
      asIs,
      body,
      metadata,
      timeoutMs === Number.POSITIVE_INFINITY ? {} : { deadline: wallClockMs() + timeoutMs },
      (error, answer) => {
        // The trailers' event comes right after this, in the same turn.
        if (error !== null) done(codeName(error.code), error.details, undefined, undefined);
        else queueMicrotask(() => done('', '', answer, timing));
      },
    );
    call.on('status', ({ metadata: trailers }) => {
      timing = trailers.get(timingTrailer)[0]?.toString();
    });
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }
}
