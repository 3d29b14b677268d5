import type { WireError } from './inference.js';
import type { VersionStatus, WorkerInfo } from './model.js';
import type { ScatteredTensor, Tensor } from './tensor.js';

/** Rows of several requests laid end to end, to be executed as one. */
export interface Batch {
  /** Unique within the coordinator that made it. */
  readonly batchId: number;
  readonly model: string;
  readonly version: string;
  /** Rows to execute, empty ones that fill up a fixed size included. */
  readonly rows: number;
  /** Device of the worker whose instance is to run it, as in `InstanceStatus.device`; empty: any. */
  readonly device: string;
  readonly inputs: readonly ScatteredTensor[];
  /** Output names somebody asked for. */
  readonly outputs: readonly string[];
  /** Microseconds until the last of its deadlines; Infinity when a row has none. Past it nobody waits for the result. */
  readonly budgetUs: number;
  /** W3C `traceparent` of the batch span; empty when there is none. */
  readonly traceparent: string;
  /** 1 for the first try. */
  readonly attempt: number;
}

/** Durations in microseconds. */
export interface BatchTiming {
  /** Waiting on the worker for an instance. */
  readonly waitUs: number;
  readonly inputUs: number;
  readonly executeUs: number;
  readonly outputUs: number;
}

export interface BatchResult {
  readonly batchId: number;
  readonly instance: string;
  readonly outputs: readonly Tensor[];
  readonly timing: BatchTiming;
}

export interface BatchFailure {
  readonly batchId: number;
  readonly error: WireError;
  /** The batch itself did no wrong (its executor died or hung, the worker drains): another instance may answer it. */
  readonly retryable: boolean;
}

/** Coordinator → worker. */
export type ToWorker =
  | { readonly kind: 'execute'; readonly batch: Batch }
  | { readonly kind: 'cancel'; readonly batchId: number };

/**
 * Worker → coordinator. `hello` is always first and is a whole snapshot; `version` replaces what was
 * known of that version; `gone` forgets it.
 */
export type ToCoordinator =
  | { readonly kind: 'hello'; readonly worker: WorkerInfo; readonly versions: readonly VersionStatus[] }
  | { readonly kind: 'version'; readonly status: VersionStatus }
  | { readonly kind: 'gone'; readonly model: string; readonly version: string }
  | { readonly kind: 'draining' }
  | { readonly kind: 'result'; readonly result: BatchResult }
  | { readonly kind: 'failure'; readonly failure: BatchFailure };

export interface LinkEvents {
  message(message: ToCoordinator): void;
  /** Called once, last. What was in flight will not be answered. */
  closed(reason: string): void;
}

export interface LinkSession {
  /** Never throws; what cannot be sent is lost, and `closed` says so. */
  send(message: ToWorker): void;
  close(): void;
}

/**
 * A worker as a coordinator sees it: implemented by the worker itself (both share a process) and by the
 * gRPC dialer (they do not). `test/contract/link.ts` holds what both must do.
 */
export interface WorkerEndpoint {
  /** Opens one session. Events come asynchronously, never before `open` has returned. */
  open(events: LinkEvents): LinkSession;
}
