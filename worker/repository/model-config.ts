import type { TensorSpec } from '../../core/tensor.js';
import { ConfigReader, type ConfigReport } from './config-reader.js';
import { closestName, honouredParameters, ignoredParameters, modelConfigRules } from './config-schema.js';
import { readTensors, readWarmup, requireInside } from './tensor-config.js';
import { parseTextProto } from './text-proto.js';
import type { InstanceGroup, SessionSettings, WarmupSample } from './version-plan.js';

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
  readonly maxQueueDelayUs: number;
  /** Ascending, without doubles. */
  readonly preferredRows: readonly number[];
  readonly instanceGroups: readonly InstanceGroup[];
  readonly session: SessionSettings;
  /** Files are relative to the model's `warmup` folder. */
  readonly warmup: readonly WarmupSample[];
  readonly versionPolicy: VersionPolicy;
  /** Relative to a version's folder. */
  readonly modelFile: string;
}

export const onnxPlatform = 'onnxruntime_onnx';
/** Most instances of one group per device. */
export const maxInstanceCount = 256;
/** An hour: a longer delay is a slip of the unit. */
const maxDelayUs = 3_600_000_000;
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
  return {
    config: {
      platform: onnxPlatform,
      maxBatchSize,
      inputs: inputs.specs,
      outputs: outputs.specs,
      labelFiles: outputs.labelFiles,
      ...readBatching(config, maxBatchSize),
      instanceGroups: readInstanceGroups(config),
      session: readSession(config),
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

function readBatching(
  config: ConfigReader,
  maxBatchSize: number | undefined,
): Pick<ModelConfig, 'maxQueueDelayUs' | 'preferredRows'> {
  const batching = config.message('dynamic_batching');
  if (batching === undefined) return { maxQueueDelayUs: 0, preferredRows: [] };
  if (maxBatchSize === 0) {
    config.warn(config.at('dynamic_batching'), "'dynamic_batching' has no effect because max_batch_size is 0.");
  }
  const preferred = batching.integers('preferred_batch_size', { least: 1 });
  const tooLarge = preferred.find((rows) => maxBatchSize !== undefined && rows > maxBatchSize);
  if (tooLarge !== undefined) {
    throw batching.fail(
      batching.at('preferred_batch_size'),
      `'dynamic_batching.preferred_batch_size' ${tooLarge} is larger than max_batch_size, which is ${maxBatchSize}.`,
    );
  }
  return {
    maxQueueDelayUs: batching.integer('max_queue_delay_microseconds', { least: 0, most: maxDelayUs }) ?? 0,
    preferredRows: [...new Set(preferred)].sort((a, b) => a - b),
  };
}

const instanceKinds = ['KIND_AUTO', 'KIND_GPU', 'KIND_CPU', 'KIND_MODEL'] as const;

function readInstanceGroups(config: ConfigReader): InstanceGroup[] {
  const groups = config.messages('instance_group').map((reader): InstanceGroup => {
    const kind = reader.choice('kind', instanceKinds) ?? 'KIND_AUTO';
    const gpus = reader.integers('gpus', { least: 0 });
    if (kind === 'KIND_MODEL') reader.warn(reader.at('kind'), 'KIND_MODEL is read as KIND_AUTO.');
    if (gpus.length > 0 && (kind === 'KIND_CPU' || kind === 'KIND_MODEL')) {
      throw reader.fail(reader.at('gpus'), `'instance_group.gpus' cannot be given with ${kind}.`);
    }
    return {
      kind: kind === 'KIND_CPU' ? 'cpu' : kind === 'KIND_GPU' ? 'gpu' : 'auto',
      // protobuf cannot tell an absent count from 0; Triton reads both as 1.
      count: Math.max(1, reader.integer('count', { least: 0, most: maxInstanceCount }) ?? 1),
      gpus: [...new Set(gpus)],
    };
  });
  return groups.length === 0 ? [{ kind: 'auto', count: 1, gpus: [] }] : groups;
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

function readSession(config: ConfigReader): SessionSettings {
  const optimization = config.message('optimization');
  const graph = optimization?.message('graph');
  const level = graph?.integer('level') ?? 0;
  if (graph !== undefined && !graphLevels.has(level)) {
    throw graph.fail(graph.at('level'), `'optimization.graph.level' must be -1, 0, 1 or 2, got ${level}.`);
  }
  const parameters = config.entries('parameters');
  const accelerated = readAccelerator(optimization?.message('execution_accelerators'));
  warnOfParameters(parameters);
  return {
    intraOpThreads: readThreads(parameters, 'intra_op_thread_count'),
    interOpThreads: readThreads(parameters, 'inter_op_thread_count'),
    graphOptimization: graphLevels.get(level),
    provider: readProvider(parameters.get('execution_provider')) ?? accelerated,
  };
}

function warnOfParameters(parameters: ReadonlyMap<string, ConfigReader>): void {
  const honoured: readonly string[] = honouredParameters;
  const known: readonly string[] = ignoredParameters;
  for (const [key, reader] of parameters) {
    if (honoured.includes(key)) continue;
    const closest = known.includes(key) ? undefined : closestName(key, honoured);
    const hint = closest === undefined ? '' : ` Did you mean '${closest}'?`;
    reader.warn(reader.at('string_value'), `the parameter '${key}' has no effect in Shoal.${hint}`);
  }
}

/** A thread count; 0 and absent leave it to the device's own setting. */
function readThreads(parameters: ReadonlyMap<string, ConfigReader>, key: string): number | undefined {
  const reader = parameters.get(key);
  if (reader === undefined) return undefined;
  const text = reader.string('string_value') ?? '';
  if (!/^[0-9]{1,6}$/.test(text) || Number(text) > maxThreads) {
    const place = reader.at('string_value');
    throw reader.fail(place, `the parameter '${key}' must be an integer from 0 to ${maxThreads}, got "${text}".`);
  }
  return Number(text) === 0 ? undefined : Number(text);
}

function readProvider(reader: ConfigReader | undefined): SessionSettings['provider'] {
  if (reader === undefined) return undefined;
  const text = reader.string('string_value') ?? '';
  const provider = providers.find((name) => name === text);
  if (provider === undefined) {
    const place = reader.at('string_value');
    throw reader.fail(
      place,
      `the parameter 'execution_provider' must be one of ${providers.join(', ')}, got "${text}".`,
    );
  }
  return provider;
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
