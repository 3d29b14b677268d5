import {
  type BatchingRule,
  type ModelSpec,
  naturalBatching,
  openQueue,
  type QueuePolicy,
  type Resource,
} from '../../core/model.js';
import { lateLevel } from './fair-share.js';

/** How pieces of one model version may be put together. */
export interface LaneRule {
  readonly model: string;
  /** Most rows of one batch; 0: every piece is executed alone. */
  readonly maxRows: number;
  readonly batching: BatchingRule;
  readonly resources: readonly Resource[];
  readonly deviceWeight: number;
}

export const laneRule = (spec: ModelSpec): LaneRule => ({
  model: spec.model,
  maxRows: spec.maxBatchSize,
  batching: spec.batching,
  resources: spec.resources,
  deviceWeight: spec.deviceWeight,
});

export const naturalRule = (maxRows: number, batching: Partial<BatchingRule> = {}): LaneRule => ({
  model: '',
  maxRows,
  batching: { ...naturalBatching, ...batching },
  resources: [],
  deviceWeight: 1,
});

/** How much more of the model one level gets than the next, when levels share by weight. */
const levelRatio = 4;

export const levelWeight = ({ priorityLevels }: BatchingRule, level: number): number =>
  level === lateLevel ? 1 : levelRatio ** Math.max(0, priorityLevels - level);

export const policyOf = ({ queuePolicy, queuePolicyByLevel }: BatchingRule, level: number): QueuePolicy =>
  queuePolicyByLevel[level] ?? queuePolicy ?? openQueue;
