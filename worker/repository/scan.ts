import { open, readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ShoalError } from '../../core/errors.js';
import { newestFirst } from '../../core/model.js';
import { type ModelConfig, readModelConfig, silentConfig } from './model-config.js';
import type { VersionPlan, WarmupSample } from './version-plan.js';

export interface RepositoryProblem {
  readonly model: string;
  /** The version that cannot serve; the newest when all of a model cannot, empty when it has no version at all. */
  readonly version: string;
  readonly error: ShoalError;
}

export interface RepositoryScan {
  /** By model name, then oldest version first. */
  readonly plans: VersionPlan[];
  readonly problems: RepositoryProblem[];
  /** One line each, naming model, file and line. */
  readonly warnings: string[];
}

/** A configuration is a page of text; more is a file put in the wrong place. */
const maxConfigBytes = 1 << 20;
/** Room for a hundred thousand long labels. */
const maxLabelBytes = 16 << 20;
/** Triton's rule: a positive decimal integer without leading zeros. */
const versionName = /^[1-9][0-9]*$/;

/**
 * Reads `<dir>/<model>/<version>/model.onnx`, with each model's optional `config.pbtxt`. What is wrong with one model
 * or version is a problem of that one. Hidden entries, files beside the models and version folders whose names are
 * not positive integers are passed over, as Triton does; symbolic links are followed.
 * @throws BAD_SETTING when `dir` cannot be listed
 */
export async function scanRepository(dir: string): Promise<RepositoryScan> {
  const root = resolve(dir);
  const scan: RepositoryScan = { plans: [], problems: [], warnings: [] };
  for (const model of await listRepository(root)) {
    const path = join(root, model);
    const isFolder = await stat(path).then(
      (status) => status.isDirectory(),
      (cause: unknown) => unloadable(`The model folder ${path} cannot be read: ${reasonOf(cause)}.`, cause),
    );
    if (isFolder instanceof ShoalError) scan.problems.push({ model, version: '', error: isFolder });
    else if (isFolder) await scanModel(path, model, scan);
  }
  return scan;
}

async function listRepository(root: string): Promise<string[]> {
  try {
    return visible(await readdir(root));
  } catch (cause) {
    throw new ShoalError('BAD_SETTING', `The model repository ${root} cannot be used: ${reasonOf(cause)}.`, { cause });
  }
}

async function scanModel(path: string, model: string, scan: RepositoryScan): Promise<void> {
  let versions: string[] = [];
  try {
    versions = await listVersions(path, model, scan.warnings);
    const source = `${model}/config.pbtxt`;
    const text = await readText(join(path, 'config.pbtxt'), maxConfigBytes, true);
    const { config, warnings } =
      text === undefined ? { config: silentConfig, warnings: [] } : readModelConfig(text, model, source);
    scan.warnings.push(...warnings);
    const chosen = chooseVersions(config, versions, model, scan.problems);
    const shared = {
      labels: await readLabels(path, config.labelFiles),
      warmup: await locateWarmup(path, config.warmup),
    };
    for (const version of chosen) {
      try {
        const modelPath = await locateModel(join(path, version), config.modelFile);
        scan.plans.push(planOf(model, version, modelPath, config, shared));
      } catch (thrown) {
        scan.problems.push({ model, version, error: ShoalError.from(thrown) });
      }
    }
  } catch (thrown) {
    scan.problems.push({ model, version: versions[0] ?? '', error: ShoalError.from(thrown) });
  }
}

/** Names of the version folders, newest first. */
async function listVersions(path: string, model: string, warnings: string[]): Promise<string[]> {
  let names: string[];
  try {
    names = visible(await readdir(path));
  } catch (cause) {
    throw unloadable(`The model folder ${path} cannot be read: ${reasonOf(cause)}.`, cause);
  }
  const versions: string[] = [];
  for (const name of names) {
    if (!versionName.test(name)) continue;
    if (!Number.isSafeInteger(Number(name))) {
      warnings.push(`${model}: the version folder ${name} is passed over because its number is too large.`);
      continue;
    }
    // A version folder that cannot be looked at is reported as that version's problem when it is chosen.
    const isFolder = await stat(join(path, name)).then(
      (status) => status.isDirectory(),
      () => true,
    );
    if (isFolder) versions.push(name);
  }
  if (versions.length === 0) {
    throw unloadable(`The model folder ${path} holds no version: expected a folder named 1, 2 or another number.`);
  }
  return versions.sort(newestFirst);
}

/** The versions that the policy wants, oldest first. `versions` is newest first. */
function chooseVersions(
  config: ModelConfig,
  versions: readonly string[],
  model: string,
  problems: RepositoryProblem[],
): string[] {
  const policy = config.versionPolicy;
  if (policy.kind === 'latest') return versions.slice(0, policy.count).reverse();
  if (policy.kind === 'all') return [...versions].reverse();
  for (const version of policy.versions) {
    if (versions.includes(version)) continue;
    const got = versions.join(', ');
    const sentence = `version_policy names version ${version} of model '${model}', but the folder holds only ${got}.`;
    problems.push({ model, version, error: unloadable(sentence) });
  }
  return versions.filter((version) => policy.versions.includes(version)).reverse();
}

function planOf(
  model: string,
  version: string,
  modelPath: string,
  config: ModelConfig,
  shared: Pick<VersionPlan, 'labels' | 'warmup'>,
): VersionPlan {
  return {
    model,
    version,
    modelPath,
    platform: config.platform,
    maxBatchSize: config.maxBatchSize,
    inputs: config.inputs,
    outputs: config.outputs,
    batching: config.batching,
    buckets: config.buckets,
    instanceGroups: config.instanceGroups,
    resources: config.resources,
    deviceWeight: config.deviceWeight,
    session: config.session,
    ...shared,
  };
}

/** Path of the model file, which may lie one folder deeper beside its external weights (Triton allows both). */
async function locateModel(folder: string, file: string): Promise<string> {
  let path = join(folder, file);
  try {
    if ((await stat(path)).isDirectory()) path = join(path, 'model.onnx');
    const status = await stat(path);
    if (!status.isFile()) throw unloadable(`The model file ${path} is not a file.`);
    if (status.size === 0) throw unloadable(`The model file ${path} is empty.`);
    // Only opening tells whether this user may read it.
    await (await open(path, 'r')).close();
    return path;
  } catch (cause) {
    if (cause instanceof ShoalError) throw cause;
    throw unloadable(`The model file ${path} cannot be read: ${reasonOf(cause)}.`, cause);
  }
}

async function readLabels(path: string, files: ModelConfig['labelFiles']): Promise<Record<string, string[]>> {
  const labels: Record<string, string[]> = {};
  for (const [output, file] of Object.entries(files)) {
    const text = (await readText(join(path, file), maxLabelBytes, false)) ?? '';
    // One label a line; the line break at the end of the file starts no label.
    labels[output] = text.replace(/\r?\n$/, '').split(/\r?\n/);
  }
  return labels;
}

async function locateWarmup(path: string, samples: readonly WarmupSample[]): Promise<WarmupSample[]> {
  const located: WarmupSample[] = [];
  for (const sample of samples) {
    const inputs: WarmupSample['inputs'][number][] = [];
    for (const input of sample.inputs) {
      if (typeof input.fill === 'string') {
        inputs.push(input);
        continue;
      }
      const file = join(path, 'warmup', input.fill.file);
      try {
        await (await open(file, 'r')).close();
      } catch (cause) {
        throw unloadable(`The warm-up file ${file} cannot be read: ${reasonOf(cause)}.`, cause);
      }
      inputs.push({ ...input, fill: { file } });
    }
    located.push({ ...sample, inputs });
  }
  return located;
}

/** A text file of limited size; undefined when it is absent and may be. */
async function readText(path: string, maxBytes: number, optional: boolean): Promise<string | undefined> {
  try {
    const status = await stat(path);
    if (!status.isFile()) throw unloadable(`${path} is not a file.`);
    if (status.size > maxBytes) {
      throw unloadable(`The file ${path} has ${status.size} bytes; at most ${maxBytes} are read.`);
    }
    const file = await open(path, 'r');
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(await file.readFile());
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof ShoalError) throw cause;
    if (optional && codeOf(cause) === 'ENOENT') return undefined;
    throw unloadable(`The file ${path} cannot be read: ${reasonOf(cause)}.`, cause);
  }
}

const visible = (names: readonly string[]): string[] => names.filter((name) => !name.startsWith('.')).sort();

const unloadable = (sentence: string, cause?: unknown): ShoalError =>
  new ShoalError('MODEL_UNLOADABLE', sentence, { cause });

const codeOf = (cause: unknown): string =>
  cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : '';

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'it is not a folder',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  ELOOP: 'its symbolic links run in a circle',
  ENAMETOOLONG: 'its name is too long',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not UTF-8 text',
};

const reasonOf = (cause: unknown): string =>
  reasons[codeOf(cause)] ?? (cause instanceof Error ? cause.message : String(cause));
