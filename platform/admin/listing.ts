import type {
  BatchingRule,
  InstanceStatus,
  QueuePolicy,
  Resource,
  SequenceBuckets,
  VersionState,
} from '../../core/model.js';
import type { TensorSpec } from '../../core/tensor.js';

/** What the Admin RPC tells of a version's signature; `admin.proto` has the same fields. */
export interface ListedSpec extends Omit<BatchingRule, 'queuePolicyByLevel'> {
  readonly platform: string;
  readonly maxBatchSize: number;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** Where a level departs from `queuePolicy`. */
  readonly levelPolicies: readonly { readonly level: number; readonly policy: QueuePolicy }[];
  /** null: sequences are not padded. */
  readonly buckets: SequenceBuckets | null;
  readonly resources: readonly Resource[];
  readonly deviceWeight: number;
  /** For outputs whose last axis are classes: one label a class index. */
  readonly labels: readonly { readonly output: string; readonly labels: readonly string[] }[];
}

export interface ListedModelVersion {
  readonly model: string;
  readonly version: string;
  readonly state: VersionState;
  /** Empty when there is nothing to say. */
  readonly reason: string;
  readonly workers: readonly string[];
  readonly queuedRows: number;
  readonly queuedRequests: number;
  /** null until a session was made. */
  readonly spec: ListedSpec | null;
}

export interface ListedHeldVersion {
  readonly model: string;
  readonly version: string;
  readonly state: VersionState;
  readonly reason: string;
  readonly slots: number;
  readonly instances: readonly InstanceStatus[];
}

export interface ListedWorker {
  readonly workerId: string;
  readonly address: string;
  readonly state: 'connecting' | 'connected' | 'draining' | 'lost';
  readonly reason: string;
  readonly batchesInFlight: number;
  readonly versions: readonly ListedHeldVersion[];
  /** null until the worker has said hello. */
  readonly info: {
    readonly devices: readonly string[];
    readonly softwareVersion: string;
    readonly pid: number;
    readonly host: string;
    readonly pipelineDepth: number;
  } | null;
}

export interface ListModelsResponse {
  readonly versions: readonly ListedModelVersion[];
}

export interface ListWorkersResponse {
  readonly workers: readonly ListedWorker[];
}
