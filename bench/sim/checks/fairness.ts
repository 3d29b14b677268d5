import type { Blame } from '../referee.js';

/** Callers of equal weight who always have more waiting than they get: each is due the same. */
export interface FairnessBound {
  readonly callers: readonly string[];
  /** Most that one of them may get, as a multiple of what another gets, in rows of good answers. */
  readonly maxRatio: number;
}

/** Arrivals are random: counts may lie so far beside what they would be on the average. */
const slack = (count: number): number => 3 * Math.sqrt(count);

/** Counts what equal callers get over a run. */
export class FairnessCheck {
  readonly #blame: Blame;
  readonly #bound: FairnessBound;
  readonly #rows: Map<string, number>;

  constructor(blame: Blame, bound: FairnessBound) {
    this.#blame = blame;
    this.#bound = bound;
    this.#rows = new Map(bound.callers.map((caller) => [caller, 0]));
  }

  /** Rows answered well, by caller. */
  get shares(): ReadonlyMap<string, number> {
    return this.#rows;
  }

  answered(caller: string, rows: number): void {
    const before = this.#rows.get(caller);
    if (before !== undefined) this.#rows.set(caller, before + rows);
  }

  ended(): void {
    const sorted = [...this.#rows].sort((a, b) => a[1] - b[1]);
    const [poorest, least] = sorted[0] ?? ['', 0];
    const [richest, most] = sorted.at(-1) ?? ['', 0];
    if (most - slack(most) <= (least + slack(least)) * this.#bound.maxRatio) return;
    this.#blame(
      'fairness',
      `Of callers with equal claims ${richest} got ${most} rows and ${poorest} ${least}; at most ${this.#bound.maxRatio} times as many are fair.`,
    );
  }
}
