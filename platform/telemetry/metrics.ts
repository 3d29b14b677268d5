import { collectDefaultMetrics, Registry } from 'prom-client';
import { wallClockMs } from '../../core/clock.js';
import type { ErrorCode } from '../../core/errors.js';
import type { TimingReceipt } from '../../core/inference.js';
import type { BucketCounts } from './bucket-counts.js';
import { FleetMetrics, type FleetView } from './fleet-metrics.js';
import { histogramSamples, LiveMetric, type Sample } from './live-metric.js';
import { type ModelSeries, maxSeries, SeriesTable } from './model-series.js';

/** Triton's `reason` label of a failed request, so that its dashboards keep their meaning. */
function tritonReason(code: ErrorCode): string {
  switch (code) {
    case 'CANCELLED':
      return 'CANCELED';
    case 'QUEUE_FULL':
    case 'DEADLINE_EXPIRED':
    case 'DEADLINE_INFEASIBLE':
    case 'QUEUE_TIMEOUT':
    case 'DRAINING':
      return 'REJECTED';
    case 'EXECUTION_FAILED':
    case 'EXECUTOR_CRASHED':
    case 'EXECUTOR_TIMEOUT':
    case 'WORKER_LOST':
      return 'BACKEND';
    default:
      return 'OTHER';
  }
}

const secondsPerUs = 1e-6;

/**
 * Everything Prometheus can ask of a coordinator. The methods are those of the coordinator's
 * `ServingObserver`; each costs a few additions, and the text is made when somebody scrapes.
 */
export class ServingMetrics {
  readonly registry = new Registry();
  readonly #series: SeriesTable;
  readonly #fleet: FleetMetrics;

  /** `seriesLimit`: most (model, version) pairs with numbers of their own; the rest share model="". */
  constructor(options: { readonly seriesLimit?: number; readonly processMetrics?: boolean } = {}) {
    this.#series = new SeriesTable(options.seriesLimit ?? maxSeries);
    this.#registerTriton();
    this.#registerOwn();
    this.#fleet = new FleetMetrics(this.registry);
    if (options.processMetrics ?? true) collectDefaultMetrics({ register: this.registry });
  }

  /** Where the gauges of queues, workers and instances are read from, at each scrape. */
  watchFleet(view: FleetView): void {
    this.#fleet.watch(view);
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** The exposition in Prometheus' text format. */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  answered(model: string, version: string, rows: number, latencyUs: number, receipt: TimingReceipt): void {
    this.#series.of(model, version).answered(rows, latencyUs, receipt, wallClockMs());
  }

  /**
   * Names that come from callers and may not exist must not make series: what was not found is counted
   * under model="", and a failure before the version was chosen under version="".
   */
  failed(model: string, version: string, code: ErrorCode, latencyUs: number): void {
    this.#seriesOfFailure(model, version, code).failed(code, latencyUs);
  }

  dispatched(model: string, version: string, rows: number, _requests: number, reason: string): void {
    this.#series.of(model, version).dispatched(rows, reason);
  }

  retried(model: string, version: string): void {
    this.#series.of(model, version).retries++;
  }

  executedLate(model: string, version: string, rows: number): void {
    this.#series.of(model, version).lateRows += rows;
  }

  /** The running totals of one version; undefined where nothing was counted yet. */
  totalsOf(model: string, version: string): ModelSeries | undefined {
    return this.#series.find(model, version);
  }

  #seriesOfFailure(model: string, version: string, code: ErrorCode): ModelSeries {
    if (code === 'MODEL_NOT_FOUND') return this.#series.nameless();
    if (version !== '' && code !== 'VERSION_NOT_FOUND') return this.#series.of(model, version);
    return this.#series.hasModel(model) ? this.#series.of(model, '') : this.#series.nameless();
  }

  #counter(name: string, help: string, read: (series: ModelSeries) => number): void {
    new LiveMetric('counter', name, help, () =>
      this.#series.all.map((series) => ({ labels: series.labels, value: read(series) })),
    ).register(this.registry);
  }

  #histogram(name: string, help: string, scale: number, read: (series: ModelSeries) => BucketCounts): void {
    new LiveMetric('histogram', name, help, () =>
      this.#series.all.flatMap((series) => histogramSamples(name, series.labels, read(series), scale)),
    ).register(this.registry);
  }

  #registerTriton(): void {
    this.#counter('nv_inference_request_success', 'Requests answered.', (s) => s.successes);
    new LiveMetric('counter', 'nv_inference_request_failure', 'Requests that ended in an error.', () =>
      this.#series.all.flatMap(failureSamples),
    ).register(this.registry);
    this.#counter('nv_inference_count', 'Rows answered.', (s) => s.rows);
    this.#counter('nv_inference_exec_count', 'Batches sent to an instance.', (s) => s.executions);
    this.#counter('nv_inference_request_duration_us', 'Sum of latencies, door to door.', (s) => s.requestUs);
    this.#counter('nv_inference_queue_duration_us', 'Sum of the times requests waited in a queue.', (s) => s.queueUs);
    this.#counter(
      'nv_inference_compute_input_duration_us',
      'Sum over requests of the time to lay out and hand over the inputs of their batch.',
      (s) => s.inputUs,
    );
    this.#counter(
      'nv_inference_compute_infer_duration_us',
      'Sum over requests of the time their batch ran in ONNX Runtime.',
      (s) => s.executeUs,
    );
    this.#counter(
      'nv_inference_compute_output_duration_us',
      'Sum over requests of the time to read back the outputs of their batch.',
      (s) => s.outputUs,
    );
  }

  #registerOwn(): void {
    this.#histogram(
      'shoal_request_latency_seconds',
      'Latency of answered requests, door to door.',
      secondsPerUs,
      (s) => s.latencyUs,
    );
    this.#histogram(
      'shoal_queue_wait_seconds',
      'Time answered requests waited in a queue.',
      secondsPerUs,
      (s) => s.queueWaitUs,
    );
    this.#histogram('shoal_batch_rows', 'Rows of each batch sent to an instance.', 1, (s) => s.batchRows);
    new LiveMetric('counter', 'shoal_batches_total', 'Batches sent to an instance, by why they were closed.', () =>
      this.#series.all.flatMap(batchSamples),
    ).register(this.registry);
    this.#counter(
      'shoal_retries_total',
      'Batches sent again after their executor or worker was lost.',
      (s) => s.retries,
    );
    this.#counter(
      'shoal_expired_rows_executed_total',
      'Rows whose deadline had passed when their execution began: device time spent on nobody.',
      (s) => s.lateRows,
    );
  }
}

function failureSamples(series: ModelSeries): Sample[] {
  return [...series.failures].map(([code, value]) => ({
    labels: { ...series.labels, reason: tritonReason(code), code },
    value,
  }));
}

function batchSamples(series: ModelSeries): Sample[] {
  return [...series.batchesByReason].map(([reason, value]) => ({ labels: { ...series.labels, reason }, value }));
}
