import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
  type JsHistogram,
} from 'hdr-histogram-js';

/** Resolution of a recorded value. HDR histograms hold integers; three significant digits are kept. */
const unitsPerMs = 10_000;
const usPerUnit = 1000 / unitsPerMs;
const longestMs = 3_600_000;

/** Percentiles in microseconds. */
export interface LatencySummary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Of no samples. */
export const nothing: LatencySummary = { count: 0, mean: 0, p50: 0, p90: 0, p95: 0, p99: 0, p999: 0, max: 0 };

export const latencyColumns = ['mean', 'p50', 'p90', 'p95', 'p99', 'p999', 'max'] as const;

/** A histogram on its way between processes. */
export interface HistogramSnapshot {
  readonly encoded: string;
  readonly sumMs: number;
  readonly maxMs: number;
}

/** Durations between 0.1 µs and an hour, to three significant digits; mean and maximum are exact. */
export class LatencyHistogram {
  readonly #histogram: Histogram = build({
    bitBucketSize: 32,
    lowestDiscernibleValue: 1,
    highestTrackableValue: longestMs * unitsPerMs,
    numberOfSignificantValueDigits: 3,
  });
  #sumMs = 0;
  #maxMs = 0;

  record(durationMs: number): void {
    const bounded = Math.min(Math.max(durationMs, 0), longestMs);
    this.#histogram.recordValue(Math.round(bounded * unitsPerMs));
    this.#sumMs += bounded;
    if (bounded > this.#maxMs) this.#maxMs = bounded;
  }

  /** Adds what another process recorded. */
  merge(snapshot: HistogramSnapshot): void {
    this.#histogram.add(decodeFromCompressedBase64(snapshot.encoded));
    this.#sumMs += snapshot.sumMs;
    this.#maxMs = Math.max(this.#maxMs, snapshot.maxMs);
  }

  snapshot(): HistogramSnapshot {
    return {
      encoded: encodeIntoCompressedBase64(this.#histogram as JsHistogram),
      sumMs: this.#sumMs,
      maxMs: this.#maxMs,
    };
  }

  summary(): LatencySummary {
    const count = this.#histogram.totalCount;
    const maxUs = this.#maxMs * 1000;
    // A bucket's upper edge may lie above the largest value seen.
    const at = (percentile: number): number =>
      count === 0 ? 0 : Math.min(this.#histogram.getValueAtPercentile(percentile) * usPerUnit, maxUs);
    return {
      count,
      mean: count === 0 ? 0 : (this.#sumMs / count) * 1000,
      p50: at(50),
      p90: at(90),
      p95: at(95),
      p99: at(99),
      p999: at(99.9),
      max: maxUs,
    };
  }
}
