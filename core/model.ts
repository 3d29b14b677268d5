import type { TensorSpec } from './tensor.js';

/** How requests for one version may be put together; Triton's `dynamic_batching` fields, compiled. */
export interface BatchingRule {
  /** Triton `max_queue_delay_microseconds`: how long a request may wait for company when an instance is free. */
  readonly maxQueueDelayUs: number;
  /** Triton `preferred_batch_size`, ascending; empty when none is preferred. */
  readonly preferredRows: readonly number[];
}

/** Everything callers and the scheduler need to know of one version. Frozen once the version is loaded. */
export interface ModelSpec {
  readonly model: string;
  readonly version: string;
  /** Triton's platform name, `onnxruntime_onnx`. */
  readonly platform: string;
  /** 0: the model takes one request at a time, whatever its shapes. Else the most rows of one execution. */
  readonly maxBatchSize: number;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly batching: BatchingRule;
  /** For classification outputs: output name → one label a class index. */
  readonly labels: Readonly<Record<string, readonly string[]>>;
}

/**
 * - `loading`: file read, session being made, warm-up running
 * - `ready`: at least one instance takes batches
 * - `draining`: takes nothing new, finishes what it has
 * - `unavailable`: could not be loaded; `reason` says why
 * - `quarantined`: its executors keep crashing; `reason` says how
 */
export type VersionState = 'loading' | 'ready' | 'draining' | 'unavailable' | 'quarantined';

/**
 * - `starting`: process up, session and warm-up under way
 * - `idle`, `busy`: healthy
 * - `backoff`: ended unexpectedly, waits before the next start
 * - `stopped`: ended on purpose
 */
export type InstanceState = 'starting' | 'idle' | 'busy' | 'backoff' | 'stopped';

export interface InstanceStatus {
  readonly id: string;
  readonly device: string;
  readonly state: InstanceState;
  readonly reason: string;
  /** Operating-system process id; 0 when there is none. */
  readonly pid: number;
  readonly restarts: number;
}

/** What a worker says of one version it holds. */
export interface VersionStatus {
  readonly model: string;
  readonly version: string;
  readonly state: VersionState;
  /** Why it is in this state, in a sentence; empty when there is nothing to say. */
  readonly reason: string;
  /** Known once a session was made. */
  readonly spec: ModelSpec | undefined;
  /** Instances that can take a batch now; the worker's grant of credits is `slots × depth`. */
  readonly slots: number;
  readonly instances: readonly InstanceStatus[];
}

export interface WorkerInfo {
  readonly workerId: string;
  readonly devices: readonly string[];
  readonly softwareVersion: string;
  readonly pid: number;
  readonly host: string;
  /** Batches that may be on their way to one busy instance besides the one it runs (0: none). */
  readonly pipelineDepth: number;
}

export const versionKey = (model: string, version: string): string => `${model}/${version}`;

/** Newest first: Triton versions are positive integers. */
export const newestFirst = (a: string, b: string): number => Number(b) - Number(a);
