import type { ErrorCode } from '../../core/errors.js';
import type { TimingReceipt } from '../../core/inference.js';
import { BatchSizeTimes } from './batch-size-times.js';
import { BucketCounts, batchRowBounds, latencyBoundsUs } from './bucket-counts.js';
import type { Labels } from './live-metric.js';

/** All running totals of one (model, version), as plain numbers. */
export class ModelSeries {
  readonly model: string;
  readonly version: string;
  readonly labels: Labels;
  successes = 0;
  rows = 0;
  executions = 0;
  retries = 0;
  lateRows = 0;
  requestUs = 0;
  queueUs = 0;
  inputUs = 0;
  executeUs = 0;
  outputUs = 0;
  /** Sum of the latencies of requests that ended in an error. */
  failUs = 0;
  /** When the last answer was given, by the wall clock; 0: never. */
  lastMs = 0;
  readonly latencyUs = new BucketCounts(latencyBoundsUs);
  readonly queueWaitUs = new BucketCounts(latencyBoundsUs);
  readonly batchRows = new BucketCounts(batchRowBounds);
  readonly batchTimes = new BatchSizeTimes();
  readonly failures = new Map<ErrorCode, number>();
  readonly batchesByReason = new Map<string, number>();

  constructor(model: string, version: string) {
    this.model = model;
    this.version = version;
    this.labels = Object.freeze({ model, version });
  }

  answered(rows: number, latencyUs: number, receipt: TimingReceipt, nowMs: number): void {
    this.successes++;
    this.lastMs = nowMs;
    this.rows += rows;
    this.requestUs += latencyUs;
    // Triton's queue time has both: waiting for an instance, and for company.
    const waitUs = receipt.queueUs + receipt.batchWaitUs;
    this.queueUs += waitUs;
    this.inputUs += receipt.inputUs;
    this.executeUs += receipt.executeUs;
    this.outputUs += receipt.outputUs;
    this.latencyUs.add(latencyUs);
    this.queueWaitUs.add(waitUs);
    this.batchTimes.add(rows, receipt);
  }

  failed(code: ErrorCode, latencyUs: number): void {
    this.failUs += latencyUs;
    this.failures.set(code, (this.failures.get(code) ?? 0) + 1);
  }

  dispatched(rows: number, reason: string): void {
    this.executions++;
    this.batchRows.add(rows);
    this.batchesByReason.set(reason, (this.batchesByReason.get(reason) ?? 0) + 1);
  }
}

/** More (model, version) pairs than this share one series, so that a mistake cannot fill the memory. */
export const maxSeries = 4096;

/** The series of every (model, version) seen, bounded in number. */
export class SeriesTable {
  readonly #byModel = new Map<string, Map<string, ModelSeries>>();
  readonly #all: ModelSeries[] = [];
  readonly #limit: number;
  /** Most calls in a row are for the same version: two string comparisons instead of two map look-ups. */
  #last: ModelSeries;
  readonly #nameless: ModelSeries;

  constructor(limit: number = maxSeries) {
    this.#limit = limit;
    this.#nameless = new ModelSeries('', '');
    this.#last = this.#nameless;
  }

  get all(): readonly ModelSeries[] {
    return this.#all;
  }

  /** For names known to be real: made at first use. */
  of(model: string, version: string): ModelSeries {
    const last = this.#last;
    if (last.model === model && last.version === version && last !== this.#nameless) return last;
    let series = this.#byModel.get(model)?.get(version);
    if (series === undefined) {
      if (this.#all.length >= this.#limit) return this.nameless();
      series = this.#add(new ModelSeries(model, version));
    }
    this.#last = series;
    return series;
  }

  /** Undefined where nothing was counted yet. */
  find(model: string, version: string): ModelSeries | undefined {
    return this.#byModel.get(model)?.get(version);
  }

  /** Is there a series of this model, whatever the version? Then its name is real. */
  hasModel(model: string): boolean {
    return this.#byModel.has(model);
  }

  /** Where everything goes that has no real name. */
  nameless(): ModelSeries {
    if (!this.#byModel.has('')) this.#add(this.#nameless);
    return this.#nameless;
  }

  #add(series: ModelSeries): ModelSeries {
    let versions = this.#byModel.get(series.model);
    if (versions === undefined) {
      versions = new Map();
      this.#byModel.set(series.model, versions);
    }
    versions.set(series.version, series);
    this.#all.push(series);
    return series;
  }
}
