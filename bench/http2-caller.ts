import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../core/clock.js';
import { invariant, ShoalError } from '../core/errors.js';
import { type Random, seededRandom } from '../core/random.js';
import { ConnectFailure, GrpcUnaryClient } from '../platform/http2/grpc-unary-client.js';
import type { CallHead } from '../platform/http2/request-blocks.js';
import { headerValue } from '../platform/http2/request-head.js';
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

/** A call that waits for its connection to come back. */
interface Held {
  readonly body: Buffer;
  readonly endMs: number;
  readonly done: CallDone;
}

const reconnectTimeoutMs = 3_000;
/** Between two attempts, so that a server that is gone does not make the load spin. */
const reconnectPauseMs = 100;

/** Calls by our own client: a tenth of what grpc-js costs, so that the harness is not what is measured. */
export class Http2Caller implements InferCaller {
  readonly #links: readonly Link[];
  #turn = 0;

  constructor(options: CallerOptions) {
    this.#links = Array.from({ length: options.connections }, (_, i) => new Link(options, options.seed + i));
  }

  async connect(timeoutMs: number): Promise<void> {
    await Promise.all(this.#links.map((link) => link.connect(timeoutMs)));
  }

  send(body: Buffer, timeoutMs: number, done: CallDone): void {
    this.#turn = (this.#turn + 1) % this.#links.length;
    this.#links[this.#turn]?.send(body, timeoutMs, done);
  }

  close(): void {
    for (const link of this.#links) link.close();
  }
}

/** One connection, made anew when the server has ended it. */
class Link {
  readonly #options: CallerOptions;
  readonly #random: Random;
  #client: GrpcUnaryClient | undefined;
  #heads: readonly CallHead[] = [];
  #held: Held[] = [];
  #isConnecting = false;
  #isClosed = false;

  constructor(options: CallerOptions, seed: number) {
    this.#options = options;
    this.#random = seededRandom(seed);
  }

  async connect(timeoutMs: number): Promise<void> {
    const { server } = this.#options;
    try {
      const client = await GrpcUnaryClient.connect({ address: server }, timeoutMs);
      this.#heads = headersOf(this.#options).map((metadata) => client.head(inferPath, metadata));
      this.#client = client;
    } catch (cause) {
      const why = cause instanceof ConnectFailure ? ` (${cause.message})` : '';
      throw new ShoalError('NO_WORKER', `${nobodyAnswers(server)}${why}`, { cause });
    }
  }

  send(body: Buffer, timeoutMs: number, done: CallDone): void {
    const client = this.#client;
    if (client === undefined || client.failure !== undefined) {
      this.#held.push({ body, endMs: systemClock.nowMs() + timeoutMs, done });
      if (!this.#isConnecting) void this.#reconnect();
      return;
    }
    const { length } = this.#heads;
    const head = this.#heads[length > 1 ? this.#random.int(length) : 0];
    invariant(head !== undefined, 'a connection has headers to send');
    client.call(head, body, timeoutMs, (outcome) => {
      if (outcome.status === 0) done('', '', outcome.body, headerValue(outcome.trailers, timingTrailer));
      else done(codeName(outcome.status), outcome.message, undefined, undefined);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#client?.close();
  }

  async #reconnect(): Promise<void> {
    this.#isConnecting = true;
    await pause(reconnectPauseMs);
    let failure: string | undefined;
    try {
      if (!this.#isClosed) await this.connect(reconnectTimeoutMs);
    } catch (thrown) {
      failure = ShoalError.from(thrown).message;
    }
    this.#isConnecting = false;
    const held = this.#held;
    this.#held = [];
    for (const { body, endMs, done } of held) {
      if (failure === undefined && !this.#isClosed) this.send(body, endMs - systemClock.nowMs(), done);
      else done('UNAVAILABLE', failure ?? 'The harness has closed the connection.', undefined, undefined);
    }
  }
}
