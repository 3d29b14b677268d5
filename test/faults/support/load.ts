import { type Clock, systemClock } from '../../../core/clock.js';
import { type ErrorCode, ShoalError } from '../../../core/errors.js';
import { type InferRequest, noParameters } from '../../../core/inference.js';
import { OipClient } from '../../../platform/oip/client.js';
import type { DecodedResponse } from '../../../platform/oip/response.js';
import { eventually } from '../../support/eventually.js';

export interface LoadOptions {
  readonly address: string;
  readonly model: string;
  /** Requests under way at a time. */
  readonly callers: number;
  /** Each request's deadline. */
  readonly timeoutMs: number;
  /** HTTP/2 connections the callers share; default 2. */
  readonly connections?: number;
  /** Rows of the n-th request; default 1, 2, 3 in turn. */
  readonly rows?: (n: number) => number;
}

/** What became of the requests sent so far: each is in exactly one of `right`, `wrong` and `failures`. */
export interface Ledger {
  readonly sent: number;
  readonly right: number;
  readonly wrong: readonly string[];
  readonly failures: Readonly<Partial<Record<ErrorCode, number>>>;
  /** A few whole sentences of each. */
  readonly sentences: readonly string[];
  /** The longest any caller waited for a right answer. */
  readonly slowestMs: number;
  /** The longest any caller waited past its deadline. */
  readonly lateMs: number;
}

const width = 4;

/** Request number n: every element says whose it is. Exact in FP32, and so is 2x + 1, up to n = 2^20. */
export function numbered(model: string, n: number, rows: number, width = 4): InferRequest {
  const x = new Float32Array(rows * width);
  for (let i = 0; i < x.length; i++) x[i] = n * 4 + i;
  const data = new Uint8Array(x.buffer);
  const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [rows, width], data }];
  return { model, version: '', id: `n${n}`, parameters: noParameters, inputs, outputs: [] };
}

/** What is wrong with an answer to `numbered(…, n, rows)`; empty when nothing is. */
export function complaint(answer: DecodedResponse, n: number, rows: number, width = 4): string {
  if (answer.id !== `n${n}`) return `request n${n} got the answer of ${answer.id}`;
  const [y] = answer.outputs;
  if (y === undefined || y.shape[0] !== rows || y.shape[1] !== width) return `n${n}: shape ${y?.shape.join()}`;
  const view = new DataView(y.data.buffer, y.data.byteOffset, y.data.byteLength);
  for (let i = 0; i < rows * width; i++) {
    const expected = 2 * (n * 4 + i) + 1;
    const got = view.getFloat32(4 * i, true);
    if (got !== expected) return `n${n}: element ${i} is ${got}, expected ${expected}`;
  }
  return '';
}

/** Callers in a closed loop over real gRPC connections, each with one request at a time, every answer checked. */
export class Load {
  readonly #options: LoadOptions;
  readonly #clock: Clock = systemClock;
  readonly #clients: OipClient[];
  readonly #callers: Promise<void>[];
  #going = true;
  #sent = 0;
  #right = 0;
  #slowestMs = 0;
  #lateMs = 0;
  readonly #wrong: string[] = [];
  readonly #failures: Partial<Record<ErrorCode, number>> = {};
  readonly #sentences: string[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
    const own = { 'grpc.use_local_subchannel_pool': 1 };
    this.#clients = Array.from({ length: options.connections ?? 2 }, () => new OipClient(options.address, own));
    this.#callers = Array.from({ length: options.callers }, (_, index) => this.#call(index));
  }

  get ledger(): Ledger {
    return {
      sent: this.#sent,
      right: this.#right,
      wrong: this.#wrong,
      failures: this.#failures,
      sentences: this.#sentences,
      slowestMs: Math.round(this.#slowestMs),
      lateMs: Math.round(this.#lateMs),
    };
  }

  /** Resolves when `more` further right answers have come. */
  async answered(more: number, withinMs = 30_000): Promise<void> {
    const goal = this.#right + more;
    await eventually(() => {
      if (this.#right < goal) {
        throw new Error(`${goal - this.#right} of ${more} answers are missing: ${JSON.stringify(this.ledger)}`);
      }
    }, withinMs);
  }

  /** Sends nothing more; resolves when every request has its answer. */
  async stop(): Promise<Ledger> {
    this.#going = false;
    await Promise.all(this.#callers);
    for (const client of this.#clients) client.close();
    return this.ledger;
  }

  async #call(index: number): Promise<void> {
    const { model, timeoutMs, rows = (n) => 1 + (n % 3) } = this.#options;
    const client = this.#clients[index % this.#clients.length];
    if (client === undefined) return;
    while (this.#going) {
      const n = this.#sent++;
      const count = rows(n);
      const startMs = this.#clock.nowMs();
      try {
        const answer = await client.infer(numbered(model, n, count, width), { timeoutMs });
        const wrong = complaint(answer, n, count, width);
        if (wrong !== '') this.#wrong.push(wrong);
        else this.#right++;
        this.#slowestMs = Math.max(this.#slowestMs, this.#clock.nowMs() - startMs);
      } catch (thrown) {
        const { code, message } = ShoalError.from(thrown);
        this.#failures[code] = (this.#failures[code] ?? 0) + 1;
        if (this.#sentences.length < 20) this.#sentences.push(`${code}: ${message}`);
        // A refusal at once must not become a storm of requests.
        await new Promise((resolve) => setImmediate(resolve));
      }
      this.#lateMs = Math.max(this.#lateMs, this.#clock.nowMs() - startMs - timeoutMs);
    }
  }
}
