/** Observations that count. A lasting shift shows after the fifth; up to four stalls of nine change nothing. */
const remembered = 9;
const highQuantile = 0.85;

const sorted = new Float64Array(remembered);

function sortInto(values: Float64Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const value = values[i] ?? 0;
    let place = i;
    for (; place > 0 && (sorted[place - 1] ?? 0) > value; place--) sorted[place] = sorted[place - 1] ?? 0;
    sorted[place] = value;
  }
}

/** The lower median: of two, a stall is always the longer one. */
const medianIndex = (count: number): number => (count - 1) >> 1;

/** Never the longest one itself, where there is a choice. */
const highIndex = (count: number): number =>
  Math.max(medianIndex(count), Math.min(count - 2, Math.ceil(highQuantile * count) - 1));

/** The last observations of one batch size, or of a few neighbouring ones. */
export class ProfileKnot {
  /** Median of the rows observed. */
  rows = 0;
  typicalMs = 0;
  highMs = 0;
  count = 0;
  /** Is all that is known somebody else's word? */
  isSeeded = false;
  /** Number of the observation, over all knots, that was last put here. */
  lastSeen = 0;
  /** What the others took when this one was last observed; undefined while it is observed. Indexed like the knots. */
  baseline: Float64Array | undefined;
  /** How the others have moved since. */
  drift = 1;
  readonly #rows = new Float64Array(remembered);
  readonly #ms = new Float64Array(remembered);
  #next = 0;

  /** Returns whether that changed what is typical here, or how sure it is. */
  observe(rows: number, ms: number, sequence: number): boolean {
    const { rows: rowsBefore, typicalMs: typicalBefore, highMs: highBefore, count: countBefore } = this;
    if (this.baseline !== undefined) this.#settleDrift();
    this.isSeeded = false;
    this.lastSeen = sequence;
    this.#put(rows, ms);
    return (
      this.typicalMs !== typicalBefore ||
      this.highMs !== highBefore ||
      this.rows !== rowsBefore ||
      this.count !== countBefore
    );
  }

  /** What the profile would have said here so far, as if observed once. */
  expect(rows: number, ms: number): void {
    this.#put(rows, ms);
  }

  /** Somebody else's value, as if observed once; replaces an earlier one. */
  seed(rows: number, ms: number, baseline: Float64Array): void {
    this.count = 0;
    this.#next = 0;
    this.isSeeded = true;
    this.drift = 1;
    this.baseline = baseline;
    this.lastSeen = Number.NEGATIVE_INFINITY;
    this.#put(rows, ms);
  }

  #put(rows: number, ms: number): void {
    this.#rows[this.#next] = rows;
    this.#ms[this.#next] = ms;
    this.#next = (this.#next + 1) % remembered;
    this.count = Math.min(remembered, this.count + 1);
    sortInto(this.#rows, this.count);
    this.rows = sorted[medianIndex(this.count)] ?? 0;
    sortInto(this.#ms, this.count);
    this.typicalMs = sorted[medianIndex(this.count)] ?? 0;
    this.highMs = sorted[highIndex(this.count)] ?? 0;
  }

  /** What was remembered is told in today's level, so that it can be mixed with what comes now. */
  #settleDrift(): void {
    for (let i = 0; i < this.count; i++) this.#ms[i] = (this.#ms[i] ?? 0) * this.drift;
    this.drift = 1;
    this.baseline = undefined;
  }
}
