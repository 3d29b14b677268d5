/** Weight that an observation keeps when the next one comes. */
const memory = 0.9;
/** Below this spread of batch sizes (variance, rows²) a line through the points says nothing. */
const leastSpread = 0.25;
/** How fast the shortest time of late is forgotten, a batch. */
const leastGrowth = 1.02;
/** Callers are not waited for longer than this many times their usual return, nor this many fixed costs. */
const patience = 2;

/** When the device is free but more rows are expected, until when it pays to hold the batch open. */
export interface Forecast {
  /** Rows that are likely to arrive soon; 0: nobody is expected. */
  readonly rows: number;
  /** How long after their answers the last of them are usually back, milliseconds. */
  readonly returnMs: number;
  /** Instant at which to stop hoping. */
  readonly untilMs: number;
}

const nobody: Forecast = { rows: 0, returnMs: 0, untilMs: 0 };

/**
 * Learns, for one model version, what one more execution costs and how soon answered callers are back.
 *
 * Callers in a closed loop (each sends its next request when it has its answer) return in a burst after a batch. A
 * device that starts at once with the first of them runs two small batches where one would do. With a batch of b rows
 * taking α + βb, running b rows now and the m that follow afterwards takes 2α + β(b + m); waiting w for them takes
 * w + α + β(b + m). So waiting pays while w < α: while the callers are back sooner than another execution's fixed
 * cost. α is the intercept of a line fitted to (rows, time from dispatch to result) with exponential forgetting; how
 * many come back, and how long the last of them take, are learned the same way. What was never observed is never waited for.
 */
export class CompanyForecast {
  // Sums of the weighted least-squares fit: weights, rows, milliseconds, rows², rows × milliseconds.
  #weight = 0;
  #x = 0;
  #y = 0;
  #xx = 0;
  #xy = 0;
  #fixedMs = 0;
  #perRowMs = 0;
  #isFitted = false;
  /** About the shortest that any batch took lately: no fixed cost is more than that, whatever a stall suggests. */
  #leastMs = Number.POSITIVE_INFINITY;

  #returnShare = 0;
  #returnMs = 0;

  #answeredRows = 0;
  #answeredMs = Number.NEGATIVE_INFINITY;
  #arrivedSince = 0;
  #lastArrivalMs = 0;

  /** Estimated fixed cost of one execution, milliseconds; 0 while unknown. */
  get fixedMs(): number {
    return this.#fixedMs;
  }

  /** Estimated milliseconds that a batch of so many rows takes; 0 while unknown. */
  batchMs(rows: number): number {
    return this.#fixedMs + this.#perRowMs * rows;
  }

  /** A batch of `rows` came back `tookMs` after it was sent; its callers have their answers now. */
  completed(rows: number, tookMs: number, nowMs: number): void {
    this.#learnReturns();
    this.#answeredRows = rows;
    this.#answeredMs = nowMs;
    this.#arrivedSince = 0;
    this.#fit(rows, tookMs);
  }

  arrived(rows: number, nowMs: number): void {
    // Later than anybody would have waited: not a return but somebody new.
    if (nowMs - this.#answeredMs > patience * this.#fixedMs) return;
    this.#arrivedSince += rows;
    this.#lastArrivalMs = nowMs;
  }

  /** Who is still expected after the last completion, given who has come since. */
  expect(nowMs: number): Forecast {
    const rows = Math.floor(this.#returnShare * this.#answeredRows - this.#arrivedSince + 0.5);
    const untilMs = this.#answeredMs + patience * Math.min(this.#fixedMs, this.#returnMs);
    if (rows <= 0 || nowMs >= untilMs) return nobody;
    return { rows, returnMs: this.#returnMs, untilMs };
  }

  /** What became of the callers answered last is known once the next batch is answered. */
  #learnReturns(): void {
    if (this.#answeredRows === 0) return;
    const returned = Math.min(1, this.#arrivedSince / this.#answeredRows);
    this.#returnShare = memory * this.#returnShare + (1 - memory) * returned;
    if (this.#arrivedSince === 0) return;
    const lastMs = this.#lastArrivalMs - this.#answeredMs;
    this.#returnMs = this.#returnMs === 0 ? lastMs : memory * this.#returnMs + (1 - memory) * lastMs;
  }

  #fit(rows: number, tookMs: number): void {
    this.#leastMs = Math.min(tookMs, this.#leastMs * leastGrowth);
    this.#weight = memory * this.#weight + 1;
    this.#x = memory * this.#x + rows;
    this.#y = memory * this.#y + tookMs;
    this.#xx = memory * this.#xx + rows * rows;
    this.#xy = memory * this.#xy + rows * tookMs;
    const meanX = this.#x / this.#weight;
    const meanY = this.#y / this.#weight;
    const spread = this.#xx / this.#weight - meanX * meanX;
    if (spread < leastSpread) {
      // All batches are of one size. An old line holds on: success must not make us forget why. Without one, a guess
      // that half the time is fixed lets a batch of another size be tried, which then tells the truth.
      if (!this.#isFitted) this.#fixedMs = this.#leastMs / 2;
      this.#fixedMs = Math.min(this.#fixedMs, this.#leastMs);
      return;
    }
    this.#isFitted = true;
    const slope = (this.#xy / this.#weight - meanX * meanY) / spread;
    this.#perRowMs = Math.max(0, slope);
    this.#fixedMs = Math.max(0, Math.min(this.#leastMs, meanY - this.#perRowMs * meanX));
  }
}
