import type { InferOutcome } from '../../../core/inference.js';
import type { Blame } from '../referee.js';
import { wrongRow } from '../rows.js';
import type { SimRequest } from '../sim-request.js';

const rule = 'one-answer';

/** Every request gets exactly one answer, after `infer` has returned, and a good one holds its own rows in order. */
export class OneAnswerCheck {
  readonly #blame: Blame;
  readonly #open = new Map<number, SimRequest>();

  constructor(blame: Blame) {
    this.#blame = blame;
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

  answered(request: SimRequest, outcome: InferOutcome): void {
    const { id, model } = request;
    if (request.state === 'asking') this.#blame(rule, `Request ${id} was answered before \`infer\` had returned.`);
    if (!this.#open.delete(id)) {
      this.#blame(rule, `Request ${id} was answered a second time (${outcome.ok ? 'with rows' : outcome.error.code}).`);
      return;
    }
    request.state = outcome.ok ? 'answered' : 'failed';
    if (!outcome.ok) return;
    const [output] = outcome.response.outputs;
    const expected = { id, rows: request.rows, modelIndex: model.index };
    const wrong = output === undefined ? 'it has no output' : wrongRow(output.parts, expected);
    if (wrong !== undefined) this.#blame(rule, `Request ${id} got an answer that is not its own: ${wrong}.`);
    else if (output?.shape[0] !== request.rows)
      this.#blame(rule, `Request ${id} has ${request.rows} rows, its answer says it has ${output?.shape[0]}.`);
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
