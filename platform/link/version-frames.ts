import {
  type InstanceState,
  type InstanceStatus,
  type ModelSpec,
  openQueue,
  type QueuePolicy,
  type SequenceAxis,
  type SequenceBuckets,
  type VersionState,
  type VersionStatus,
} from '../../core/model.js';
import type { TensorSpec } from '../../core/tensor.js';
import { readDatatype, type Whole, whole } from './wire-values.js';

interface WireSpec {
  readonly platform: string;
  readonly maxBatchSize: number;
  readonly inputs: { name: string; datatype: string; shape: Whole[] }[];
  readonly outputs: { name: string; datatype: string; shape: Whole[] }[];
  readonly maxQueueDelayUs: Whole;
  readonly preferredRows: number[];
  readonly labels: { output: string; names: string[] }[];
  readonly preserveOrdering: boolean;
  readonly priorityLevels: number;
  readonly defaultPriorityLevel: number;
  readonly strictPriority: boolean;
  readonly queuePolicy?: WirePolicy | null;
  readonly levelPolicies: { level: number; policy?: WirePolicy | null }[];
  readonly fixedRows: number[];
  readonly buckets?: { lengths: number[]; inputs: SequenceAxis[]; outputs: SequenceAxis[] } | null;
  readonly resources: { name: string; count: number; global: boolean }[];
  readonly deviceWeight: number;
}

interface WirePolicy {
  readonly timeoutUs: Whole;
  readonly delay: boolean;
  readonly allowTimeoutOverride: boolean;
  readonly maxRequests: number;
}

export interface WireVersion {
  readonly model: string;
  readonly version: string;
  readonly state: string;
  readonly reason: string;
  readonly spec?: WireSpec | null;
  readonly slots: number;
  readonly instances: { id: string; device: string; state: string; reason: string; pid: number; restarts: number }[];
  readonly profiles: { deviceClass: string; rows: number[]; ms: number[] }[];
}

export function wireVersion(status: VersionStatus): object {
  const { spec } = status;
  const profiles = Object.entries(status.profiles).map(([deviceClass, points]) => ({
    deviceClass,
    rows: points.map((point) => point.rows),
    ms: points.map((point) => point.ms),
  }));
  if (spec === undefined) return { ...status, spec: undefined, profiles };
  const { batching, labels, ...rest } = spec;
  const { queuePolicy, queuePolicyByLevel, priorityMode, ...plain } = batching;
  return {
    ...status,
    profiles,
    spec: {
      ...rest,
      ...plain,
      strictPriority: priorityMode === 'strict',
      queuePolicy: wirePolicy(queuePolicy),
      levelPolicies: Object.entries(queuePolicyByLevel).map(([level, policy]) => ({
        level: Number(level),
        policy: wirePolicy(policy),
      })),
      labels: Object.entries(labels).map(([output, names]) => ({ output, names })),
    },
  };
}

const wirePolicy = ({ timeoutAction, ...rest }: QueuePolicy) => ({ ...rest, delay: timeoutAction === 'delay' });

const readPolicy = (wire: WirePolicy | null | undefined): QueuePolicy =>
  wire == null
    ? openQueue
    : {
        timeoutUs: whole(wire.timeoutUs),
        timeoutAction: wire.delay ? 'delay' : 'reject',
        allowTimeoutOverride: wire.allowTimeoutOverride,
        maxRequests: wire.maxRequests,
      };

export function readVersion(wire: WireVersion): VersionStatus {
  const { model, version, reason, slots } = wire;
  const instances = wire.instances.map(
    ({ id, device, state, reason: why, pid, restarts }): InstanceStatus => ({
      id,
      device,
      state: state as InstanceState,
      reason: why,
      pid,
      restarts,
    }),
  );
  const spec = wire.spec == null ? undefined : readSpec(model, version, wire.spec);
  const profiles = Object.fromEntries(
    wire.profiles.map(({ deviceClass, rows, ms }) => [
      deviceClass,
      rows.map((count, i) => ({ rows: count, ms: ms[i] ?? 0 })),
    ]),
  );
  return { model, version, state: wire.state as VersionState, reason, spec, slots, instances, profiles };
}

function readSpec(model: string, version: string, wire: WireSpec): ModelSpec {
  const tensors = (list: WireSpec['inputs']): TensorSpec[] =>
    list.map(({ name, datatype, shape }) => ({ name, datatype: readDatatype(datatype), shape: shape.map(whole) }));
  return Object.freeze<ModelSpec>({
    model,
    version,
    platform: wire.platform,
    maxBatchSize: wire.maxBatchSize,
    inputs: tensors(wire.inputs),
    outputs: tensors(wire.outputs),
    batching: {
      maxQueueDelayUs: whole(wire.maxQueueDelayUs),
      preferredRows: wire.preferredRows,
      preserveOrdering: wire.preserveOrdering,
      priorityLevels: wire.priorityLevels,
      defaultPriorityLevel: wire.defaultPriorityLevel,
      priorityMode: wire.strictPriority ? 'strict' : 'weighted',
      queuePolicy: readPolicy(wire.queuePolicy),
      queuePolicyByLevel: Object.fromEntries(
        wire.levelPolicies.map(({ level, policy }) => [level, readPolicy(policy)]),
      ),
      fixedRows: wire.fixedRows,
    },
    buckets: wire.buckets == null ? undefined : readBuckets(wire.buckets),
    resources: wire.resources.map(({ name, count, global }) => ({ name, count, global })),
    // A neighbouring release that knows no weights sends none.
    deviceWeight: wire.deviceWeight || 1,
    labels: Object.fromEntries(wire.labels.map(({ output, names }) => [output, names])),
  });
}

function readBuckets({ lengths, inputs, outputs }: NonNullable<WireSpec['buckets']>): SequenceBuckets {
  const axes = (list: readonly SequenceAxis[]) =>
    list.map(({ tensor, axis, padValue }) => ({ tensor, axis, padValue }));
  return { lengths, inputs: axes(inputs), outputs: axes(outputs) };
}
