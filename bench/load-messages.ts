import type { LoadJob } from './plan.js';
import type { RecorderSnapshot } from './recorder.js';

/** What it cost a load process to make the load, over the window. */
export interface HarnessCost {
  /** User and system CPU time. */
  readonly cpuUs: number;
  /** Share of the window in which the event loop was not waiting, 0…1. */
  readonly loopUtilisation: number;
  /** The longest time, warm-up included, for which the process did not get to run its event loop. */
  readonly stallMs: number;
}

/** Parent → load process. `prepare` first, with a job for each group of the run; `start` after its `ready`; `stop` ends the window early. */
export type ToLoadProcess =
  | { readonly kind: 'prepare'; readonly jobs: readonly LoadJob[] }
  | { readonly kind: 'start' }
  | { readonly kind: 'stop' };

/** Load process → parent. `result`, in the order of the jobs, or `failed` is last. */
export type FromLoadProcess =
  | { readonly kind: 'ready' }
  | { readonly kind: 'window'; readonly edge: 'opened' | 'closed' }
  | { readonly kind: 'progress'; readonly answers: number }
  | { readonly kind: 'result'; readonly seen: readonly RecorderSnapshot[]; readonly cost: HarnessCost }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };
