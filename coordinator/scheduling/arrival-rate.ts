/** Weight of the newest gap between arrivals. */
const newest = 0.05;
/** Fewer arrivals say nothing about how often they come. */
const leastArrivals = 16;
/** A wait is given up after this many usual gaps without an arrival. */
const patience = 2;
/** When fewer than this share of the waits were rewarded, only one in `retryEvery` chances is taken. */
const leastSuccess = 0.5;
const retryEvery = 32;

/**
 * How often rows arrive, and whether waiting for the next has been worth it.
 *
 * With b rows there and arrivals at λ, starting now makes the next row wait for a whole execution; waiting for it makes
 * b rows wait 1/λ longer. With ℓ(b) = α + βb the sum of all latencies is smaller by waiting when (b + 1)/λ + bβ < α: a
 * one-step look-ahead, which is the best rule here because what it weighs only grows with b. Arrivals that are not
 * independent (a closed loop: everybody is here already) do not reward waiting, so the rule watches its own success.
 */
export class ArrivalRate {
  #meanGapMs = Number.POSITIVE_INFINITY;
  #lastMs = Number.NEGATIVE_INFINITY;
  #arrivals = 0;
  #success = 1;
  #chances = 0;
  #waitedForMs = Number.NEGATIVE_INFINITY;
  #isWaiting = false;

  /** Rows a millisecond; 0 while unknown. */
  get perMs(): number {
    return this.#meanGapMs === Number.POSITIVE_INFINITY ? 0 : 1 / Math.max(this.#meanGapMs, 1e-6);
  }

  arrived(rows: number, nowMs: number): void {
    const gapMs = (nowMs - this.#lastMs) / rows;
    if (gapMs !== Number.POSITIVE_INFINITY) {
      const weight = this.#meanGapMs === Number.POSITIVE_INFINITY ? 1 : 1 - (1 - newest) ** rows;
      const before = weight === 1 ? 0 : this.#meanGapMs;
      this.#meanGapMs = (1 - weight) * before + weight * gapMs;
    }
    this.#lastMs = nowMs;
    this.#arrivals++;
    if (this.#isWaiting) this.#rewarded(true);
  }

  /** Until when to wait for one more row, given the rule's α and β in milliseconds; `nowMs`: not at all. */
  waitUntil(rows: number, fixedMs: number, perRowMs: number, nowMs: number): number {
    const gapMs = this.#meanGapMs;
    if (this.#arrivals < leastArrivals) return nowMs;
    if ((rows + 1) * gapMs + rows * perRowMs >= fixedMs) return nowMs;
    const untilMs = this.#lastMs + patience * gapMs;
    if (untilMs <= nowMs) {
      if (this.#isWaiting) this.#rewarded(false);
      return nowMs;
    }
    if (this.#waitedForMs === this.#lastMs) return untilMs;
    if (this.#success < leastSuccess && ++this.#chances % retryEvery !== 0) return nowMs;
    this.#waitedForMs = this.#lastMs;
    this.#isWaiting = true;
    return untilMs;
  }

  /** A batch was closed, for whatever reason: nobody is waited for any more. */
  closed(): void {
    this.#isWaiting = false;
  }

  #rewarded(yes: boolean): void {
    this.#isWaiting = false;
    this.#success = 0.9 * this.#success + (yes ? 0.1 : 0);
  }
}
