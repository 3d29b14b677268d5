import type { Blame } from '../referee.js';

/** Instants of virtual time between which good answers are counted. */
export interface RecoveryWindows {
  /** Everybody has joined and nothing has failed yet. */
  readonly before: { readonly fromMs: number; readonly toMs: number };
  /** The last fault has ended and a stated time has passed. */
  readonly after: { readonly fromMs: number; readonly toMs: number };
}

/** Share of the throughput before the faults that must be back. */
const leastShare = 0.9;
/** Arrivals are random: a shortfall counts when it is larger than so many standard deviations of their number. */
const deviations = 5;

/** Throughput after the last fault is what it was before the first. */
export class RecoveryCheck {
  readonly #blame: Blame;
  readonly #windows: RecoveryWindows;
  #before = 0;
  #after = 0;

  constructor(blame: Blame, windows: RecoveryWindows) {
    this.#blame = blame;
    this.#windows = windows;
  }

  answered(atMs: number): void {
    const { before, after } = this.#windows;
    if (atMs >= before.fromMs && atMs < before.toMs) this.#before++;
    if (atMs >= after.fromMs && atMs < after.toMs) this.#after++;
  }

  ended(): void {
    const { before, after } = this.#windows;
    const perMs = this.#before / (before.toMs - before.fromMs);
    const expected = perMs * (after.toMs - after.fromMs) * leastShare;
    if (this.#after >= expected - deviations * Math.sqrt(expected)) return;
    const now = (1000 * this.#after) / (after.toMs - after.fromMs);
    this.#blame(
      'recovery',
      `Before the faults ${(perMs * 1000).toFixed(0)} requests a second were answered, after them only ${now.toFixed(0)}.`,
    );
  }
}
