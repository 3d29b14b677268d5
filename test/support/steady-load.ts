import { ShoalError } from '../../core/errors.js';
import type { Random } from '../../core/random.js';
import { eventually } from './eventually.js';
import { IdentityTraffic, wrongness } from './identity-traffic.js';
import { inferRequest, strangers } from './oip-callers.js';

export interface LoadReport {
  readonly answered: number;
  /** A sentence for each request that failed or was answered wrongly. */
  readonly complaints: readonly string[];
}

/** Callers that ask the model `wide` one distinguishable question after the other, until they are told to stop. */
export class SteadyLoad {
  readonly complaints: string[] = [];
  /** By worker. */
  readonly answeredBy = new Map<string, number>();
  answered = 0;
  #going = true;
  readonly #callers: ReturnType<typeof strangers>;
  readonly #done: Promise<unknown>;

  constructor(address: string, random: Random, { callers = 4, perCaller = 4 } = {}) {
    const traffic = new IdentityTraffic(random, ['wide']);
    this.#callers = strangers(address, callers);
    this.#done = Promise.all(
      this.#callers.flatMap((caller) =>
        Array.from({ length: perCaller }, async () => {
          while (this.#going) {
            const request = traffic.next();
            const { model, input } = request;
            try {
              const answer = await caller.infer(inferRequest(model, [input], { parameters: { shoal_timing: true } }));
              const complaint = wrongness(answer.outputs[0], request);
              if (complaint !== undefined) this.complaints.push(complaint);
              const worker = String(answer.parameters.shoal_worker);
              this.answeredBy.set(worker, (this.answeredBy.get(worker) ?? 0) + 1);
            } catch (thrown) {
              const { code, message } = ShoalError.from(thrown);
              this.complaints.push(`${code}: ${message}`);
              // A server that refuses everything at once would otherwise be asked without end.
              if (this.complaints.length > 100) this.#going = false;
            }
            this.answered++;
          }
        }),
      ),
    );
  }

  /** Resolves when `worker` (default: anybody) has answered `count` requests more than now. */
  async answers(count: number, worker?: string): Promise<void> {
    const so = (): number => (worker === undefined ? this.answered : (this.answeredBy.get(worker) ?? 0));
    const goal = so() + count;
    await eventually(() => {
      if (so() < goal)
        throw new Error(`${so()} of ${goal} answers of ${worker ?? 'anybody'}; ${this.complaints[0] ?? ''}`);
    }, 20_000);
  }

  /** Lets those under way end. */
  async stop(): Promise<LoadReport> {
    this.#going = false;
    await this.#done;
    for (const caller of this.#callers) caller.close();
    return { answered: this.answered, complaints: this.complaints };
  }
}
