import { isotonicLimit, makeMonotone } from './isotonic.js';
import type { ProfilePoint } from './model.js';
import { ProfileKnot } from './profile-knot.js';

/** Batch sizes up to this one have a knot each. */
const singleKnots = 8;
/** From there, neighbouring knots are this ratio apart. */
const knotRatio = 1.25;
const knotLimit = 64;
/** After so many observations it is looked which knots were not among them, and how the others have moved. */
const epoch = 32;
/** What somebody else has told weighs next to nothing against what was observed here, if the two contradict. */
const seedWeight = 0.001;
/** With a single knot, so much of its time is taken for fixed cost: a guess that gets other sizes tried. */
const guessedFixedShare = 0.5;

function knotIndex(rows: number): number {
  if (rows <= singleKnots) return rows - 1;
  const steps = Math.ceil(Math.log(rows / singleKnots) / Math.log(knotRatio));
  return Math.min(knotLimit - 1, singleKnots - 1 + steps);
}

/** Every epoch, and a few times before the first is over, so that seeds soon have the level of this machine. */
const isTimeToLook = (sequence: number): boolean =>
  sequence % epoch === 0 || sequence === 4 || sequence === 8 || sequence === 16;

/**
 * ℓ(rows): how long one execution of so many rows takes, learned from executions as they come. Knows no clock: the
 * same observations in the same order give the same profile.
 *
 * Batch sizes are gathered in knots, one for each up to 8 rows and then about 1.25 apart. A knot remembers its last
 * nine executions and goes by their median, so that a stall changes nothing and a lasting shift is followed after five;
 * a new one begins with what the others let expect, so that its first execution needs a second one to be believed.
 * Between knots ℓ is linear; the medians are made non-decreasing by isotonic regression, weighted by how many
 * executions are behind each (pool-adjacent-violators; Ayer et al. 1955, see `makeMonotone`).
 *
 * A knot that is not observed any more moves with those that are: it is multiplied by the median of what the observed
 * ones take now over what they took when this one was last observed. A neighbour that takes half the device thus shows
 * in sizes that have not been tried since. The same holds for what was seeded by a faster or slower machine. And it is
 * never thought to take longer than smaller batches that are observed would take one after the other: whoever avoids a
 * size for what it once took would otherwise never learn that it takes less.
 */
export class LatencyProfile {
  readonly #knots: (ProfileKnot | undefined)[] = [];
  #sequence = 0;
  #knownRows = 0;
  /** Observed or seeded since the tables were made. */
  #isStale = false;
  // The tables: knots in ascending order of rows, both times non-decreasing.
  #length = 0;
  readonly #rows = new Float64Array(isotonicLimit);
  readonly #typical = new Float64Array(isotonicLimit);
  readonly #high = new Float64Array(isotonicLimit);

  /** Largest number of rows there is an observation (or a seed) of; 0 while there is none. */
  get knownRows(): number {
    return this.#knownRows;
  }

  /** One execution. What cannot be one (no rows, a time that is no positive number) is left out. */
  observe(rows: number, ms: number): void {
    if (!(rows >= 1 && ms > 0 && ms < Number.POSITIVE_INFINITY)) return;
    const index = knotIndex(rows);
    let knot = this.#knots[index];
    if (knot === undefined) {
      const expectedMs = this.typicalMs(rows);
      knot = new ProfileKnot();
      // Else a size that stalls when it is tried for the first time would raise all larger ones with it.
      if (expectedMs > 0) knot.expect(rows, expectedMs);
      this.#knots[index] = knot;
    }
    if (rows > this.#knownRows) this.#knownRows = rows;
    this.#sequence++;
    const wasSeen = knot.lastSeen > this.#sequence - epoch;
    if (knot.observe(rows, ms, this.#sequence) || !wasSeen) this.#isStale = true;
    if (isTimeToLook(this.#sequence)) this.#followDrift();
  }

  /** Milliseconds an execution of so many rows usually takes; 0 while nothing is known. Non-decreasing in `rows`. */
  typicalMs(rows: number): number {
    if (this.#isStale) this.#tabulate();
    return this.#lookUp(this.#typical, rows);
  }

  /** The same for a bad but not an extreme case: about the 85th percentile. Never less than `typicalMs`. */
  highMs(rows: number): number {
    if (this.#isStale) this.#tabulate();
    // Beyond the knots the high line may be the flatter one.
    return Math.max(this.#lookUp(this.#high, rows), this.#lookUp(this.#typical, rows));
  }

  /** The knots: ascending in rows, non-decreasing in time. */
  points(): readonly ProfilePoint[] {
    if (this.#isStale) this.#tabulate();
    return Array.from({ length: this.#length }, (_, i) => ({ rows: this.#rows[i] ?? 0, ms: this.#typical[i] ?? 0 }));
  }

  /**
   * Takes over another profile's points, each as if it had been observed once, where there is nothing of one's own.
   * A later seed replaces an earlier one.
   */
  seed(points: readonly ProfilePoint[]): void {
    const good = points.filter(({ rows, ms }) => rows >= 1 && ms > 0 && ms < Number.POSITIVE_INFINITY);
    const baseline = new Float64Array(knotLimit);
    for (const { rows, ms } of good) baseline[knotIndex(rows)] = ms;
    for (const { rows, ms } of good) {
      const index = knotIndex(rows);
      let knot = this.#knots[index];
      if (knot === undefined) {
        knot = new ProfileKnot();
        this.#knots[index] = knot;
      } else if (!knot.isSeeded) {
        continue;
      }
      if (rows > this.#knownRows) this.#knownRows = rows;
      knot.seed(rows, ms, baseline);
    }
    this.#followDrift();
    this.#isStale = true;
  }

  /** How far each knot that was not observed of late has to be moved, to go along with those that were. */
  #followDrift(): void {
    const oldest = this.#sequence - epoch;
    this.#isStale = true;
    for (const [index, knot] of this.#knots.entries()) {
      if (knot === undefined || knot.lastSeen > oldest) continue;
      knot.baseline ??= Float64Array.from(this.#knots, (other) => other?.typicalMs ?? 0);
      const ratios: number[] = [];
      for (const [place, other] of this.#knots.entries()) {
        if (place === index || other === undefined || other.isSeeded || other.lastSeen <= oldest) continue;
        const before = knot.baseline[place] ?? 0;
        if (before > 0) ratios.push(other.typicalMs / before);
      }
      if (ratios.length === 0) continue;
      ratios.sort((a, b) => a - b);
      knot.drift = ratios[(ratios.length - 1) >> 1] ?? 1;
      this.#isStale = true;
    }
  }

  #tabulate(): void {
    const oldest = this.#sequence - epoch;
    let length = 0;
    let perRowMs = Number.POSITIVE_INFINITY;
    let highPerRowMs = Number.POSITIVE_INFINITY;
    for (const knot of this.#knots) {
      if (knot === undefined) continue;
      let typicalMs = knot.typicalMs * knot.drift;
      let highMs = knot.highMs * knot.drift;
      if (knot.lastSeen > oldest) {
        perRowMs = Math.min(perRowMs, typicalMs / knot.rows);
        highPerRowMs = Math.min(highPerRowMs, highMs / knot.rows);
      } else {
        typicalMs = Math.min(typicalMs, perRowMs * knot.rows);
        highMs = Math.min(highMs, highPerRowMs * knot.rows);
      }
      this.#rows[length] = knot.rows;
      this.#typical[length] = typicalMs;
      this.#high[length] = highMs;
      weights[length] = knot.isSeeded ? seedWeight : knot.count;
      highWeights[length] = knot.isSeeded ? seedWeight : knot.count;
      length++;
    }
    makeMonotone(this.#typical, weights, length);
    makeMonotone(this.#high, highWeights, length);
    this.#length = length;
    this.#isStale = false;
  }

  #lookUp(ms: Float64Array, rows: number): number {
    const last = this.#length - 1;
    if (last < 0) return 0;
    const firstRows = this.#rows[0] ?? 1;
    const firstMs = ms[0] ?? 0;
    if (last === 0) {
      const fixedMs = guessedFixedShare * firstMs;
      return fixedMs + ((firstMs - fixedMs) * Math.max(0, rows)) / firstRows;
    }
    if (rows <= firstRows) return Math.max(0, firstMs - this.#slope(ms, 0, 1) * (firstRows - rows));
    const lastRows = this.#rows[last] ?? 1;
    if (rows >= lastRows) {
      // Over a step of at least the usual ratio: two knots that happen to lie close together would magnify their noise.
      let from = last - 1;
      while (from > 0 && (this.#rows[from] ?? 0) * knotRatio > lastRows) from--;
      return (ms[last] ?? 0) + this.#slope(ms, from, last) * (rows - lastRows);
    }
    let low = 0;
    let high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#rows[middle] ?? 0) <= rows) low = middle;
      else high = middle;
    }
    return (ms[low] ?? 0) + this.#slope(ms, low, high) * (rows - (this.#rows[low] ?? 0));
  }

  /** Milliseconds a row, between two entries of the tables. */
  #slope(ms: Float64Array, from: number, to: number): number {
    return ((ms[to] ?? 0) - (ms[from] ?? 0)) / ((this.#rows[to] ?? 1) - (this.#rows[from] ?? 0));
  }
}

const weights = new Float64Array(isotonicLimit);
const highWeights = new Float64Array(isotonicLimit);
