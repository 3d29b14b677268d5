import type {
  InferBatchStatistics,
  InferStatistics,
  ModelStatistics,
  StatisticDuration,
} from '../../platform/oip/statistics.js';
import { ModelSeries } from '../../platform/telemetry/model-series.js';
import type { InferenceService } from '../serving.js';

/** Where the doors get Triton's ModelStatistics from. */
export interface StatisticsSource {
  /**
   * Numbers of every known version (empty model), of those of one model (empty version), or of one version.
   * @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND for what was never heard of.
   */
  modelStatistics(model: string, version: string): readonly ModelStatistics[];
}

/** The part of the coordinator that knows which models there are. */
interface KnownVersions extends Pick<InferenceService, 'modelReady'> {
  versions(): readonly { readonly model: string; readonly version: string }[];
}

/** Statistics from the running totals of the metrics; a version that was not asked for yet has zeros. */
export class FleetStatistics implements StatisticsSource {
  readonly #fleet: KnownVersions;
  readonly #totals: { totalsOf(model: string, version: string): ModelSeries | undefined };

  constructor(fleet: KnownVersions, totals: { totalsOf(model: string, version: string): ModelSeries | undefined }) {
    this.#fleet = fleet;
    this.#totals = totals;
  }

  modelStatistics(model: string, version: string): readonly ModelStatistics[] {
    const wanted = this.#fleet
      .versions()
      .filter((one) => (model === '' || one.model === model) && (version === '' || one.version === version));
    // Throws what is to be said of a model or version that nobody knows.
    if (wanted.length === 0 && model !== '') this.#fleet.modelReady(model, version);
    return wanted.map((one) =>
      statistics(this.#totals.totalsOf(one.model, one.version) ?? new ModelSeries(one.model, one.version)),
    );
  }
}

const duration = (count: number, us: number): StatisticDuration => ({
  count: Math.round(count),
  ns: Math.round(us * 1000),
});

function statistics(totals: ModelSeries): ModelStatistics {
  return {
    name: totals.model,
    version: totals.version,
    last_inference: Math.round(totals.lastMs),
    inference_count: totals.rows,
    execution_count: totals.executions,
    inference_stats: inferStatistics(totals),
    batch_stats: batchStatistics(totals),
  };
}

function inferStatistics(totals: ModelSeries): InferStatistics {
  const { successes, requestUs, failUs, queueUs, inputUs, executeUs, outputUs } = totals;
  let failures = 0;
  for (const count of totals.failures.values()) failures += count;
  return {
    success: duration(successes, requestUs),
    fail: duration(failures, failUs),
    queue: duration(successes, queueUs),
    compute_input: duration(successes, inputUs),
    compute_infer: duration(successes, executeUs),
    compute_output: duration(successes, outputUs),
    // Answers are never cached.
    cache_hit: duration(0, 0),
    cache_miss: duration(0, 0),
  };
}

const batchStatistics = (totals: ModelSeries): InferBatchStatistics[] =>
  totals.batchTimes.entries().map(([size, { executions, inputUs, executeUs, outputUs }]) => ({
    batch_size: size,
    compute_input: duration(executions, inputUs),
    compute_infer: duration(executions, executeUs),
    compute_output: duration(executions, outputUs),
  }));
