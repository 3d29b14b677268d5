/** Weight that an observation keeps when the next one comes. */
const memory = 0.9;
/** Callers are not waited for longer than this many times their usual return, nor this many fixed costs. */
const patience = 2;
/** The same for how densely callers come. */
const longMemory = 0.98;
/** Who returns comes so much more densely than callers do on the whole; strangers do not care when a batch is done. */
const leastDensity = 1.4;

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
 * Learns, for one model version, how many of the callers answered last come back, and how soon.
 *
 * Callers in a closed loop (each sends its next request when it has its answer) return in a burst after a batch. A
 * device that starts at once with the first of them runs two small batches where one would do: with ℓ(b) for a batch
 * of b rows, running b rows now and the m that follow afterwards takes ℓ(b) + ℓ(m), waiting w for them w + ℓ(b + m).
 * So waiting pays while w < ℓ(b) + ℓ(m) − ℓ(b + m), about the fixed cost of one execution. What was never observed is
 * never waited for.
 */
export class CompanyForecast {
  #returnShare = 0;
  #returnMs = 0;

  /** Rows after answers and in what time, and all rows in all the time. */
  #returnRows = 0;
  #returnSpanMs = 0;
  #allRows = 0;
  #allMs = 0;
  #arrivedInAll = 0;

  #fixedMs = 0;
  #answeredRows = 0;
  #answeredMs = Number.NEGATIVE_INFINITY;
  #arrivedSince = 0;
  #lastArrivalMs = 0;

  /** A batch of `rows` came back: its callers have their answers now. `fixedMs`: what one more execution costs. */
  completed(rows: number, fixedMs: number, nowMs: number): void {
    this.#learnReturns();
    this.#learnDensity(nowMs);
    this.#fixedMs = fixedMs;
    this.#answeredRows = rows;
    this.#answeredMs = nowMs;
    this.#arrivedSince = 0;
    this.#arrivedInAll = 0;
  }

  arrived(rows: number, nowMs: number): void {
    this.#arrivedInAll += rows;
    // Later than anybody would have waited: not a return but somebody new.
    if (nowMs - this.#answeredMs > patience * this.#fixedMs) return;
    this.#arrivedSince += rows;
    this.#lastArrivalMs = nowMs;
  }

  /** Who is still expected after the last completion, given who has come since. */
  expect(nowMs: number): Forecast {
    // They would be as likely to come at any other time: nothing that waiting for a batch's callers could use.
    if (this.#returnRows * this.#allMs < leastDensity * this.#allRows * this.#returnSpanMs) return nobody;
    const rows = Math.floor(this.#returnShare * this.#answeredRows - this.#arrivedSince + 0.5);
    const untilMs = this.#answeredMs + patience * Math.min(this.#fixedMs, this.#returnMs);
    if (rows <= 0 || nowMs >= untilMs) return nobody;
    return { rows, returnMs: this.#returnMs, untilMs };
  }

  #learnDensity(nowMs: number): void {
    if (this.#answeredRows === 0) return;
    const cycleMs = nowMs - this.#answeredMs;
    const rows = this.#arrivedSince;
    // The last of k who come at random in some time comes after k / (k + 1) of it.
    const lastMs = rows === 0 ? patience * this.#fixedMs : (this.#lastArrivalMs - this.#answeredMs) * (1 + 1 / rows);
    this.#returnRows = longMemory * this.#returnRows + rows;
    this.#returnSpanMs = longMemory * this.#returnSpanMs + Math.min(lastMs, cycleMs);
    this.#allRows = longMemory * this.#allRows + this.#arrivedInAll;
    this.#allMs = longMemory * this.#allMs + cycleMs;
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
}
