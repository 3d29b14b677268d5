/** Callers who give up this late in their time did so because it ran out. */
const lateShare = 0.8;
/** Milliseconds that the estimate moves by. */
const step = 0.1;
/** It settles where this share of the callers give up before our own clock says that their time is over. */
const accepted = 0.01;
const leastMs = 0.5;
const mostMs = 50;

/**
 * How much of a caller's time passes outside our doors: a deadline counts from when the request was sent, and an answer
 * is in time when it has arrived, but we see only from the first read to the last write. When a caller's own clock runs
 * out first it hangs up shortly before the instant that we took for its deadline. The allowance grows when one does so
 * earlier than it allows for, and shrinks a little with each answer: stochastic approximation of a quantile (Robbins
 * and Monro 1951).
 */
export class DoorAllowance {
  #ms = leastMs;

  get ms(): number {
    return this.#ms;
  }

  /** A caller hung up with `leftMs` of `budgetMs` left by our clock. */
  hungUp(leftMs: number, budgetMs: number): void {
    if (budgetMs === Number.POSITIVE_INFINITY || leftMs > (1 - lateShare) * budgetMs || leftMs <= this.#ms) return;
    this.#ms = Math.min(mostMs, this.#ms + step * (1 - accepted));
  }

  /** A request with a deadline was answered. */
  answered(): void {
    this.#ms = Math.max(leastMs, this.#ms - step * accepted);
  }
}
