import type { BatchingRule, Resource } from '../../core/model.js';
import type { TensorSpec } from '../../core/tensor.js';
import { readBatching } from './batching-config.js';
import {
  badParameter,
  type ConfigParameters,
  parameterChoice,
  parameterText,
  warnOfParameters,
} from './config-parameters.js';
import { ConfigReader, type ConfigReport } from './config-reader.js';
import { modelConfigRules } from './config-schema.js';
import { readInstances } from './instance-config.js';
import { readBuckets } from './sequence-config.js';
import { readTensors, readWarmup, requireInside } from './tensor-config.js';
import { parseTextProto } from './text-proto.js';
import type { DeclaredBuckets, InstanceGroup, SessionSettings, WarmupSample } from './version-plan.js';

/** Which of the version folders serve. */
export type VersionPolicy =
  | { readonly kind: 'all' }
  | { readonly kind: 'latest'; readonly count: number }
  | { readonly kind: 'specific'; readonly versions: readonly string[] };

/** What one config.pbtxt says, checked as far as it can be without looking at any other file. */
export interface ModelConfig {
  readonly platform: string;
  /** Undefined when silent. */
  readonly maxBatchSize: number | undefined;
  /** As written: without the batch axis when `maxBatchSize` > 0. */
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** Output → label file, relative to the model's folder. */
  readonly labelFiles: Readonly<Record<string, string>>;
  readonly batching: BatchingRule;
  readonly buckets: DeclaredBuckets | undefined;
  readonly instanceGroups: readonly InstanceGroup[];
  /** What one execution occupies; no name twice. */
  readonly resources: readonly Resource[];
  readonly deviceWeight: number;
  readonly session: SessionSettings;
  /** Files are relative to the model's `warmup` folder. */
  readonly warmup: readonly WarmupSample[];
  readonly versionPolicy: VersionPolicy;
  /** Relative to a version's folder. */
  readonly modelFile: string;
}

export const onnxPlatform = 'onnxruntime_onnx';
const maxThreads = 1024;

/**
 * Reads a config.pbtxt. `model` is the name of its folder, `source` that of the file in errors and warnings.
 * @throws MODEL_UNLOADABLE with line, column and what was expected
 */
export function readModelConfig(
  text: string,
  model: string,
  source: string,
): { readonly config: ModelConfig; readonly warnings: readonly string[] } {
  const report: ConfigReport = { source, warnings: [] };
  const config = new ConfigReader(parseTextProto(text, source), modelConfigRules, report);
  checkIdentity(config, model);
  const maxBatchSize = config.integer('max_batch_size', { least: 0 });
  const inputs = readTensors(config, 'input');
  const outputs = readTensors(config, 'output');
  const parameters = config.entries('parameters');
  warnOfParameters(parameters);
  return {
    config: {
      platform: onnxPlatform,
      maxBatchSize,
      inputs: inputs.specs,
      outputs: outputs.specs,
      labelFiles: outputs.labelFiles,
      batching: readBatching(config, parameters, maxBatchSize),
      buckets: readBuckets(parameters, maxBatchSize),
      ...readInstances(config),
      session: readSession(config, parameters),
      warmup: readWarmup(config, maxBatchSize),
      versionPolicy: readVersionPolicy(config),
      modelFile: readModelFile(config),
    },
    warnings: report.warnings,
  };
}

function checkIdentity(config: ConfigReader, model: string): void {
  const name = config.string('name') ?? '';
  if (name !== '' && name !== model) {
    throw config.fail(config.at('name'), `'name' must be that of the model's folder, '${model}', got '${name}'.`);
  }
  const platform = config.string('platform') ?? '';
  if (platform !== '' && platform !== onnxPlatform) {
    throw config.fail(config.at('platform'), `'platform' must be "${onnxPlatform}", got "${platform}".`);
  }
  const backend = config.string('backend') ?? '';
  if (backend !== '' && backend !== 'onnxruntime') {
    throw config.fail(config.at('backend'), `'backend' must be "onnxruntime", got "${backend}".`);
  }
}

function readVersionPolicy(config: ConfigReader): VersionPolicy {
  const policy = config.message('version_policy');
  const given = ['latest', 'all', 'specific'].filter((choice) => policy?.has(choice));
  if (policy === undefined || given.length === 0) return { kind: 'latest', count: 1 };
  if (given.length > 1) {
    throw policy.fail(policy.at(given[1] ?? ''), `'version_policy' takes one choice, got ${given.join(' and ')}.`);
  }
  const specific = policy.message('specific');
  if (specific !== undefined) {
    const versions = specific.integers('versions', { least: 1, most: Number.MAX_SAFE_INTEGER });
    if (versions.length === 0) {
      throw policy.fail(policy.at('specific'), "'version_policy.specific' needs at least one version, got none.");
    }
    return { kind: 'specific', versions: [...new Set(versions)].map(String) };
  }
  const latest = policy.message('latest');
  if (latest === undefined) {
    policy.message('all');
    return { kind: 'all' };
  }
  return { kind: 'latest', count: Math.max(1, latest.integer('num_versions', { least: 0 }) ?? 1) };
}

function readModelFile(config: ConfigReader): string {
  const file = config.string('default_model_filename') ?? '';
  return file === '' ? 'model.onnx' : requireInside(config, 'default_model_filename', file);
}

/** `level` of Triton's onnxruntime backend: unset all, -1 basic, 1 extended, 2 none. */
const graphLevels: ReadonlyMap<number, SessionSettings['graphOptimization']> = new Map([
  [-1, 'basic'],
  [0, undefined],
  [1, 'extended'],
  [2, 'disabled'],
]);
const providers = ['cpu', 'webgpu', 'cuda', 'tensorrt'] as const;

function readSession(config: ConfigReader, parameters: ConfigParameters): SessionSettings {
  const optimization = config.message('optimization');
  const graph = optimization?.message('graph');
  const level = graph?.integer('level') ?? 0;
  if (graph !== undefined && !graphLevels.has(level)) {
    throw graph.fail(graph.at('level'), `'optimization.graph.level' must be -1, 0, 1 or 2, got ${level}.`);
  }
  const accelerated = readAccelerator(optimization?.message('execution_accelerators'));
  return {
    intraOpThreads: readThreads(parameters, 'intra_op_thread_count'),
    interOpThreads: readThreads(parameters, 'inter_op_thread_count'),
    graphOptimization: graphLevels.get(level),
    provider: parameterChoice(parameters, 'execution_provider', providers) ?? accelerated,
  };
}

/** A thread count; 0 and absent leave it to the device's own setting. */
function readThreads(parameters: ConfigParameters, key: string): number | undefined {
  const text = parameterText(parameters, key);
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,6}$/.test(text) || Number(text) > maxThreads) {
    throw badParameter(parameters, key, `must be an integer from 0 to ${maxThreads}`);
  }
  return Number(text) === 0 ? undefined : Number(text);
}

/** The first accelerator that is one of our providers; the others are told about. */
function readAccelerator(accelerators: ConfigReader | undefined): SessionSettings['provider'] {
  let chosen: SessionSettings['provider'];
  for (const field of ['gpu_execution_accelerator', 'cpu_execution_accelerator']) {
    for (const reader of accelerators?.messages(field) ?? []) {
      const name = reader.string('name') ?? '';
      const provider = providers.find((candidate) => candidate === name);
      if (provider !== undefined && chosen === undefined) chosen = provider;
      else reader.warn(reader.at('name'), `the execution accelerator '${name}' has no effect in Shoal.`);
    }
  }
  return chosen;
}

/** What holds for a model without config.pbtxt. */
export const silentConfig: ModelConfig = readModelConfig('', '', '').config;
