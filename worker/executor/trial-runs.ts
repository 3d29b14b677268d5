import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { systemClock } from '../../core/clock.js';
import type { ProfilePoint } from '../../core/model.js';

export type Feeds = Record<string, OrtTensor>;

/** Runs of each size beyond the first, for the sake of their time. */
const timedRuns = 2;

/** Runs before a version is ready: the first of a size makes it warm, a few more tell what it takes then. */
export class TrialRuns {
  readonly #session: InferenceSession;
  readonly #warmed = new Set<number>();
  readonly #shortestMs = new Map<number, number>();
  #timingLeftMs: number;

  /** `timingBudgetMs`: what the runs beyond the first may take, all sizes together. */
  constructor(session: InferenceSession, timingBudgetMs: number) {
    this.#session = session;
    this.#timingLeftMs = timingBudgetMs;
  }

  /** Sizes that have been run, in that order. */
  get warmedRowCounts(): readonly number[] {
    return [...this.#warmed];
  }

  /** Shortest run of each size but the first; without those that were too slow to repeat. */
  get timings(): readonly ProfilePoint[] {
    return [...this.#shortestMs].map(([rows, ms]) => ({ rows, ms }));
  }

  /** @throws what ONNX Runtime says */
  async run(rows: number, feeds: Feeds): Promise<void> {
    const firstMs = await this.#runMs(feeds);
    this.#warmed.add(rows);
    let shortestMs = this.#shortestMs.get(rows) ?? Number.POSITIVE_INFINITY;
    // A run that would probably end after the budget is not begun.
    for (let run = 0; run < timedRuns && Math.min(firstMs, shortestMs) <= this.#timingLeftMs; run++) {
      const ms = await this.#runMs(feeds);
      this.#timingLeftMs -= ms;
      shortestMs = Math.min(shortestMs, ms);
      this.#shortestMs.set(rows, shortestMs);
    }
  }

  async #runMs(feeds: Feeds): Promise<number> {
    const startMs = systemClock.nowMs();
    await this.#session.run(feeds);
    return systemClock.nowMs() - startMs;
  }
}
