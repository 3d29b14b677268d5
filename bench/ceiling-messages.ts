import type { InputPlan } from './inputs.js';
import type { HistogramSnapshot } from './latency-histogram.js';

/** What the bare loop is to run, and for how long at each batch size. */
export interface CeilingJob {
  readonly modelFile: string;
  readonly providers: readonly string[];
  readonly intraOpThreads: number;
  readonly inputs: Omit<InputPlan, 'rows'>;
  readonly batchSizes: readonly number[];
  readonly warmupMs: number;
  readonly durationMs: number;
  readonly seed: number;
}

/** The bare loop at one batch size, in one run. */
export interface CeilingSample {
  readonly batch: number;
  readonly rowsPerS: number;
  /** Duration of single calls. */
  readonly call: HistogramSnapshot;
}

/** Ceiling process → parent. `done` or `failed` is last. */
export type FromCeilingProcess =
  | { readonly kind: 'sample'; readonly sample: CeilingSample }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };
