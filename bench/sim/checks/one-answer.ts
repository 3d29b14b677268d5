import type { ErrorCode } from '../../../core/errors.js';
import type { InferOutcome } from '../../../core/inference.js';
import type { Blame } from '../referee.js';
import { wrongRow } from '../rows.js';
import type { SimRequest } from '../sim-request.js';

const rule = 'one-answer';

/** Failures that another try may mend. */
const mendable: ReadonlySet<ErrorCode> = new Set(['WORKER_LOST', 'EXECUTOR_CRASHED']);

/**
 * Every request gets exactly one answer, after `infer` has returned, and a good one holds its own rows in order. It fails for what befell a worker only
 * when it was sent as often as is allowed, or its time was over.
 */
export class OneAnswerCheck {
  readonly #blame: Blame;
  readonly #maxAttempts: number;
  /** Of models whose answers must leave in the order of the requests: the last that was answered. */
  readonly #lastInOrder = new Map<string, number>();
  readonly #open = new Map<number, SimRequest>();

  constructor(blame: Blame, maxAttempts: number) {
    this.#blame = blame;
    this.#maxAttempts = maxAttempts;
  }

  /** Asked and not yet answered. */
  get openCount(): number {
    return this.#open.size;
  }

  /** The unanswered request of this number; undefined when it has its answer or was never asked. */
  open(id: number): SimRequest | undefined {
    return this.#open.get(id);
  }

  asked(request: SimRequest): void {
    this.#open.set(request.id, request);
  }

  answered(request: SimRequest, outcome: InferOutcome, nowMs: number): void {
    const { id, model } = request;
    if (request.state === 'asking') this.#blame(rule, `Request ${id} was answered before \`infer\` had returned.`);
    if (!this.#open.delete(id)) {
      this.#blame(rule, `Request ${id} was answered a second time (${outcome.ok ? 'with rows' : outcome.error.code}).`);
      return;
    }
    request.state = outcome.ok ? 'answered' : 'failed';
    if (!outcome.ok) {
      this.#checkTries(request, outcome.error.code, nowMs);
      return;
    }
    this.#checkOrder(request);
    const [output] = outcome.response.outputs;
    const expected = { id, rows: request.rows, modelIndex: model.index };
    const wrong = output === undefined ? 'it has no output' : wrongRow(output.parts, expected);
    if (wrong !== undefined) this.#blame(rule, `Request ${id} got an answer that is not its own: ${wrong}.`);
    else if (output?.shape[0] !== request.rows)
      this.#blame(rule, `Request ${id} has ${request.rows} rows, its answer says it has ${output?.shape[0]}.`);
  }

  #checkOrder({ id, model: { spec } }: SimRequest): void {
    if (!spec.batching.preserveOrdering) return;
    const last = this.#lastInOrder.get(spec.model) ?? 0;
    if (id < last) this.#blame('in-order', `Request ${id} of ${spec.model} was answered after request ${last}.`);
    this.#lastInOrder.set(spec.model, Math.max(id, last));
  }

  #checkTries({ id, timesSent, rows, model, deadlineMs }: SimRequest, code: ErrorCode, nowMs: number): void {
    if (!mendable.has(code) || timesSent >= this.#maxAttempts || deadlineMs <= nowMs) return;
    // The parts of a split request have tries of their own.
    if (rows > Math.max(1, model.spec.maxBatchSize)) return;
    this.#blame(
      'tries',
      `Request ${id} failed with ${code}, and was sent only ${timesSent} times of ${this.#maxAttempts}.`,
    );
  }

  /** Time has run out. */
  ended(): void {
    const [first] = this.#open.values();
    if (first === undefined) return;
    const others = this.#open.size - 1;
    this.#blame(
      rule,
      `Request ${first.id} of ${first.caller} was never answered${others > 0 ? `, nor ${others} more` : ''}.`,
    );
  }
}
