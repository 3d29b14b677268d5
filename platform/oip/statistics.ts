/** The messages of ModelStatistics, with the proto's field names; its JSON form over HTTP has the same. */

export interface StatisticDuration {
  readonly count: number;
  /** Sum, nanoseconds. */
  readonly ns: number;
}

export interface InferStatistics {
  readonly success: StatisticDuration;
  readonly fail: StatisticDuration;
  readonly queue: StatisticDuration;
  readonly compute_input: StatisticDuration;
  readonly compute_infer: StatisticDuration;
  readonly compute_output: StatisticDuration;
  readonly cache_hit: StatisticDuration;
  readonly cache_miss: StatisticDuration;
}

export interface InferBatchStatistics {
  /** Rows, those included that only fill up a fixed size. */
  readonly batch_size: number;
  readonly compute_input: StatisticDuration;
  readonly compute_infer: StatisticDuration;
  readonly compute_output: StatisticDuration;
}

export interface ModelStatistics {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since the Unix epoch; 0: none yet. */
  readonly last_inference: number;
  /** Rows answered. */
  readonly inference_count: number;
  /** Batches sent to an instance. */
  readonly execution_count: number;
  readonly inference_stats: InferStatistics;
  readonly batch_stats: readonly InferBatchStatistics[];
}

export interface ModelStatisticsResponse {
  readonly model_stats: readonly ModelStatistics[];
}
