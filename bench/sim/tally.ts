import type { ErrorCode } from '../../core/errors.js';
import { LatencyHistogram, type LatencySummary } from '../latency-histogram.js';
import type { SimAnswer } from './sim-request.js';

export interface TallySummary {
  readonly requests: number;
  readonly rows: number;
  readonly answered: number;
  /** Good answers within their deadline, or good answers where there was none. */
  readonly inTime: number;
  /** Every other outcome, by code, most frequent first. */
  readonly refused: readonly (readonly [code: ErrorCode, count: number])[];
  /** Microseconds, of good answers. */
  readonly latency: LatencySummary;
  /** Microseconds until a caller was told that it gets nothing. */
  readonly refusal: LatencySummary;
  /** Rows that ran together, on the average over batches. */
  readonly meanBatchRows: number;
  readonly batches: number;
  /** Why batches were closed, most frequent first. */
  readonly reasons: readonly (readonly [reason: string, count: number])[];
  readonly retries: number;
  /** Rows whose deadline had passed when their execution began. */
  readonly lateRows: number;
}

/** Counts what became of the requests. */
export class Tally {
  readonly #latency = new LatencyHistogram();
  readonly #refusal = new LatencyHistogram();
  readonly #refused = new Map<ErrorCode, number>();
  readonly #reasons = new Map<string, number>();
  #requests = 0;
  #rows = 0;
  #answered = 0;
  #inTime = 0;
  #batches = 0;
  #batchRows = 0;
  #retries = 0;
  #lateRows = 0;

  asked(rows: number): void {
    this.#requests++;
    this.#rows += rows;
  }

  answered({ code, latencyMs, isInTime }: SimAnswer): void {
    if (code === undefined) {
      this.#answered++;
      if (isInTime) this.#inTime++;
      this.#latency.record(latencyMs);
    } else {
      this.#refused.set(code, (this.#refused.get(code) ?? 0) + 1);
      this.#refusal.record(latencyMs);
    }
  }

  dispatched(rows: number, reason: string): void {
    this.#batches++;
    this.#batchRows += rows;
    this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
  }

  retried(): void {
    this.#retries++;
  }

  executedLate(rows: number): void {
    this.#lateRows += rows;
  }

  summary(): TallySummary {
    return {
      requests: this.#requests,
      rows: this.#rows,
      answered: this.#answered,
      inTime: this.#inTime,
      refused: mostFirst(this.#refused),
      latency: this.#latency.summary(),
      refusal: this.#refusal.summary(),
      meanBatchRows: this.#batches === 0 ? 0 : this.#batchRows / this.#batches,
      batches: this.#batches,
      reasons: mostFirst(this.#reasons),
      retries: this.#retries,
      lateRows: this.#lateRows,
    };
  }
}

const mostFirst = <K extends string>(counts: ReadonlyMap<K, number>): readonly (readonly [K, number])[] =>
  [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
