import type { BatchingRule, Resource } from '../../core/model.js';
import type { TensorSpec } from '../../core/tensor.js';

/** `instance_group` of config.pbtxt: where executors of this version run, and how many. */
export interface InstanceGroup {
  /** `auto`: on whatever devices the worker has. */
  readonly kind: 'auto' | 'cpu' | 'gpu';
  /** Instances per device. */
  readonly count: number;
  /** GPU ordinals; empty means all of the worker's. */
  readonly gpus: readonly number[];
}

/** One entry of the parameter `sequence_axes`. Whether it means an input or an output shows in `padValue`. */
export interface DeclaredSequenceAxis {
  readonly tensor: string;
  /** Index into the whole shape, the batch axis included. */
  readonly axis: number;
  /** Undefined for an output. */
  readonly padValue: number | undefined;
}

/** `sequence_buckets` and `sequence_axes`, before they were held against the model. */
export interface DeclaredBuckets {
  /** Ascending. */
  readonly lengths: readonly number[];
  readonly axes: readonly DeclaredSequenceAxis[];
}

/** ONNX Runtime session settings, from config.pbtxt `parameters` (Triton's onnxruntime backend names). */
export interface SessionSettings {
  readonly intraOpThreads: number | undefined;
  readonly interOpThreads: number | undefined;
  readonly graphOptimization: 'disabled' | 'basic' | 'extended' | 'all' | undefined;
  /** Execution provider this model insists on; undefined: the device's own. */
  readonly provider: 'cpu' | 'webgpu' | 'cuda' | 'tensorrt' | undefined;
}

/** One `model_warmup` sample: an input set to run before the version is ready. */
export interface WarmupSample {
  readonly name: string;
  readonly batchSize: number;
  readonly count: number;
  readonly inputs: readonly {
    readonly spec: TensorSpec;
    readonly fill: 'zero' | 'random' | { readonly file: string };
  }[];
}

/** What the repository folder says of one version, before any session was made. */
export interface VersionPlan {
  readonly model: string;
  readonly version: string;
  /** Absolute path of the model file. */
  readonly modelPath: string;
  readonly platform: string;
  /** `max_batch_size`; undefined when config.pbtxt is absent or silent. */
  readonly maxBatchSize: number | undefined;
  /** As declared; dims are without the batch axis when `maxBatchSize` > 0 (Triton's rule). Empty when silent. */
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly batching: BatchingRule;
  readonly buckets: DeclaredBuckets | undefined;
  readonly instanceGroups: readonly InstanceGroup[];
  readonly resources: readonly Resource[];
  readonly deviceWeight: number;
  readonly session: SessionSettings;
  readonly labels: Readonly<Record<string, readonly string[]>>;
  readonly warmup: readonly WarmupSample[];
}
