import { naturalBatching } from '../../../core/model.js';
import type { SessionSettings, VersionPlan } from '../../../worker/repository/version-plan.js';

export const noSettings: SessionSettings = {
  intraOpThreads: undefined,
  interOpThreads: undefined,
  graphOptimization: undefined,
  provider: undefined,
};

/** What the repository says of a model file without config.pbtxt. */
export const planFor = (modelPath: string, plan: Partial<VersionPlan> = {}): VersionPlan => ({
  model: 'm',
  version: '1',
  modelPath,
  platform: 'onnxruntime_onnx',
  maxBatchSize: undefined,
  inputs: [],
  outputs: [],
  batching: naturalBatching,
  buckets: undefined,
  instanceGroups: [],
  resources: [],
  deviceWeight: 1,
  session: noSettings,
  labels: {},
  warmup: [],
  ...plan,
});
