import type { ErrorCode } from '../core/errors.js';
import type { CallContext, InferOutcome, InferRequest, TimingReceipt } from '../core/inference.js';
import type { ModelSpec, VersionState, VersionStatus, WorkerInfo } from '../core/model.js';
import type { ListedExplanation } from '../platform/admin/explanation.js';

export type CancelCall = () => void;

/** What the front ends (gRPC, HTTP) ask of the coordinator. */
export interface InferenceService {
  /**
   * Takes one call. `reply` is called exactly once, never before `infer` has returned.
   * The returned function gives the call up (the caller hung up); `reply` may then still be called.
   */
  infer(request: InferRequest, context: CallContext, reply: (outcome: InferOutcome) => void): CancelCall;
  /** Is every model that should be served ready, and is this coordinator not draining? */
  ready(): boolean;
  /** @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND for what was never heard of. */
  modelReady(model: string, version: string): boolean;
  /**
   * The spec of a ready version (empty version: the newest) and all ready versions, oldest first.
   * @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND, MODEL_NOT_READY
   */
  describe(model: string, version: string): { readonly spec: ModelSpec; readonly versions: readonly string[] };
}

export interface VersionView {
  readonly model: string;
  readonly version: string;
  readonly state: VersionState;
  readonly reason: string;
  readonly spec: ModelSpec | undefined;
  readonly workers: readonly string[];
  readonly queuedRows: number;
  readonly queuedRequests: number;
  /** Requests that waited while a batch left with room for them, by what kept them out. */
  readonly lost: { readonly shape: number; readonly version: number; readonly priority: number };
}

export interface WorkerView {
  readonly workerId: string;
  readonly address: string;
  readonly state: 'connecting' | 'connected' | 'draining' | 'lost';
  readonly reason: string;
  readonly info: WorkerInfo | undefined;
  readonly versions: readonly VersionStatus[];
  readonly batchesInFlight: number;
}

/** What operators can look at. Sorted by name, then version. */
export interface AdminView {
  versions(): readonly VersionView[];
  workers(): readonly WorkerView[];
  /**
   * Why the batches of a model (all versions if `version` is empty) are as they are.
   * @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND
   */
  explain(model: string, version: string): readonly ListedExplanation[];
}

/** Why a batch was closed. */
export const closeReasons = ['full', 'idle', 'delay', 'deadline', 'preferred', 'unbatched'] as const;
export type CloseReason = (typeof closeReasons)[number];

/** Told of everything that happens to requests; metrics listen here. Must be cheap and must not throw. */
export interface ServingObserver {
  answered(model: string, version: string, rows: number, latencyUs: number, receipt: TimingReceipt): void;
  /** `version` is empty when the request failed before one was chosen. */
  failed(model: string, version: string, code: ErrorCode, latencyUs: number): void;
  dispatched(model: string, version: string, rows: number, requests: number, reason: CloseReason): void;
  retried(model: string, version: string): void;
  /** Rows whose deadline had passed when their execution began. */
  executedLate(model: string, version: string, rows: number): void;
}
