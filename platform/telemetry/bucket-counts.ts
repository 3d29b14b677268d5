/** Counts of values by bucket, for one histogram series. Adding costs a short search and three additions. */
export class BucketCounts {
  /** Upper bounds, ascending, inclusive; what is larger lands in one more bucket. */
  readonly bounds: Float64Array;
  /** Not cumulative; one longer than `bounds`. */
  readonly counts: Float64Array;
  sum = 0;
  total = 0;

  constructor(bounds: Float64Array) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  add(value: number): void {
    const bounds = this.bounds;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++;
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
    this.sum += value;
    this.total++;
  }
}

/** 50 µs to 10 s: from a tiny model alone on the machine to a queue nobody should stand in. Microseconds. */
export const latencyBoundsUs = Float64Array.of(
  50,
  100,
  250,
  500,
  1_000,
  2_500,
  5_000,
  10_000,
  25_000,
  50_000,
  100_000,
  250_000,
  500_000,
  1_000_000,
  2_500_000,
  5_000_000,
  10_000_000,
);

/** Rows of one batch: powers of two, as batch sizes mostly are. */
export const batchRowBounds = Float64Array.of(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024);
