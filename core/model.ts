import type { TensorSpec } from './tensor.js';

/** Triton's `ModelQueuePolicy`: how long and how many requests of one priority level may wait. */
export interface QueuePolicy {
  /** `default_timeout_microseconds`; 0: requests wait for as long as their deadline allows. */
  readonly timeoutUs: number;
  /** `reject` answers a request that waited that long with an error; `delay` lets it wait behind all others. */
  readonly timeoutAction: 'reject' | 'delay';
  /** `allow_timeout_override`: may a request's own, shorter `timeout` parameter stand in for `timeoutUs`? */
  readonly allowTimeoutOverride: boolean;
  /** `max_queue_size`: most requests that wait; 0: no limit of its own. */
  readonly maxRequests: number;
}

/** How requests for one version may be put together; Triton's `dynamic_batching` fields, compiled. */
export interface BatchingRule {
  /** Triton `max_queue_delay_microseconds`: how long a request may wait for company when an instance is free. */
  readonly maxQueueDelayUs: number;
  /** Triton `preferred_batch_size`, ascending; empty when none is preferred. */
  readonly preferredRows: readonly number[];
  /** Triton `preserve_ordering`: answers leave in the order in which their requests came. */
  readonly preserveOrdering: boolean;
  /** Triton `priority_levels`: 1 is the most urgent; 0: the model knows no priorities. */
  readonly priorityLevels: number;
  /** Level of a request without a `priority` parameter; 0 where there are no levels. */
  readonly defaultPriorityLevel: number;
  /** `strict`: a lower level waits for as long as a higher one has work. `weighted`: it gets a share all the same. */
  readonly priorityMode: 'weighted' | 'strict';
  readonly queuePolicy: QueuePolicy;
  /** Where a level departs from `queuePolicy`. */
  readonly queuePolicyByLevel: Readonly<Record<number, QueuePolicy>>;
  /** Batch sizes an accelerator wants, ascending: a batch is filled up with empty rows to the next. Empty: any size. */
  readonly fixedRows: readonly number[];
}

export const openQueue: QueuePolicy = Object.freeze({
  timeoutUs: 0,
  timeoutAction: 'reject',
  allowTimeoutOverride: false,
  maxRequests: 0,
});

/** What holds when a config says nothing: whoever is there travels together as soon as an instance is free. */
export const naturalBatching: BatchingRule = Object.freeze({
  maxQueueDelayUs: 0,
  preferredRows: [],
  preserveOrdering: false,
  priorityLevels: 0,
  defaultPriorityLevel: 0,
  priorityMode: 'weighted',
  queuePolicy: openQueue,
  queuePolicyByLevel: {},
  fixedRows: [],
});

/** Rows that a batch of `rows` is executed with: the next of the fixed sizes, where there are any. */
export function executedRows({ fixedRows }: BatchingRule, rows: number): number {
  for (const fixed of fixedRows) if (fixed >= rows) return fixed;
  return rows;
}

/** One axis of a tensor that a sequence's length runs along. */
export interface SequenceAxis {
  readonly tensor: string;
  /** Index into the whole shape, the batch axis included, so never 0. */
  readonly axis: number;
  /** What an input is filled up with; not used for outputs. */
  readonly padValue: number;
}

/**
 * Sequences of different length share a batch by being padded to the next of these lengths. The model's author says
 * that this is safe (the model masks what was padded); outputs are cut back to each request's own length.
 */
export interface SequenceBuckets {
  /** Ascending. Longer sequences are batched by their exact length. */
  readonly lengths: readonly number[];
  readonly inputs: readonly SequenceAxis[];
  readonly outputs: readonly SequenceAxis[];
}

/** Triton `rate_limiter.resources`: what one execution occupies on its device, or in the whole cluster if `global`. */
export interface Resource {
  readonly name: string;
  readonly count: number;
  readonly global: boolean;
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
  /** Undefined: every length has a queue of its own. */
  readonly buckets: SequenceBuckets | undefined;
  /** Empty: executions are limited by instances alone. */
  readonly resources: readonly Resource[];
  /** Share of a contended device relative to other versions: 1 / Triton `rate_limiter.priority`; 1 by default. */
  readonly deviceWeight: number;
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

/** What devices of one kind have in common: `cuda:1` → `cuda`. Latency profiles are kept by it. */
export function deviceClass(device: string): string {
  const end = device.indexOf(':');
  return end < 0 ? device : device.slice(0, end);
}

/** One point of a latency profile ℓ(rows). */
export interface ProfilePoint {
  readonly rows: number;
  /** Typical time of one execution, its input and output copies included, milliseconds. */
  readonly ms: number;
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
  /** What executions took here so far, by device class (`cpu`, `cuda`, …); empty before the first. */
  readonly profiles: Readonly<Record<string, readonly ProfilePoint[]>>;
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
