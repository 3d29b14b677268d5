import { type Datatype, isDatatype } from '../../core/datatype.js';
import type { TensorSpec } from '../../core/tensor.js';
import type { ConfigReader } from './config-reader.js';
import type { WarmupSample } from './version-plan.js';

/** Triton's `DataType` enum, and what the Open Inference Protocol calls each. */
export const configDatatypes = {
  TYPE_BOOL: 'BOOL',
  TYPE_UINT8: 'UINT8',
  TYPE_UINT16: 'UINT16',
  TYPE_UINT32: 'UINT32',
  TYPE_UINT64: 'UINT64',
  TYPE_INT8: 'INT8',
  TYPE_INT16: 'INT16',
  TYPE_INT32: 'INT32',
  TYPE_INT64: 'INT64',
  TYPE_FP16: 'FP16',
  TYPE_FP32: 'FP32',
  TYPE_FP64: 'FP64',
  TYPE_STRING: 'BYTES',
  TYPE_BF16: 'BF16',
} as const satisfies Record<string, Datatype>;

const datatypeNames = Object.keys(configDatatypes) as (keyof typeof configDatatypes)[];

/** The config.pbtxt name of a datatype, e.g. TYPE_STRING for BYTES. */
export const configDatatype = (datatype: Datatype): string =>
  datatypeNames.find((name) => configDatatypes[name] === datatype) ?? datatype;

export interface TensorDeclarations {
  /** Those whose datatype and dims were both given; dims as written. */
  readonly specs: readonly TensorSpec[];
  readonly names: readonly string[];
  /** Name of a tensor → `label_filename`. */
  readonly labelFiles: Readonly<Record<string, string>>;
}

/** Reads all `input` or `output` messages. A declaration may be a bare name: the rest is read from the model. */
export function readTensors(config: ConfigReader, field: 'input' | 'output'): TensorDeclarations {
  const specs: TensorSpec[] = [];
  const names: string[] = [];
  const labelFiles: Record<string, string> = {};
  for (const reader of config.messages(field)) {
    const name = reader.string('name') ?? '';
    if (name === '') throw reader.fail(reader.at('name'), `every '${field}' needs a name.`);
    if (names.includes(name)) throw reader.fail(reader.at('name'), `${field} '${name}' is declared twice.`);
    names.push(name);
    const datatype = readDatatype(reader);
    const dims = reader.has('dims') ? readDims(reader, -1) : undefined;
    if (datatype !== undefined && dims !== undefined) specs.push({ name, datatype, shape: dims });
    else if (datatype !== undefined || dims !== undefined) {
      const missing = datatype === undefined ? 'data_type' : 'dims';
      throw reader.fail(reader.at('name'), `${field} '${name}' lacks ${missing}: give data_type and dims, or neither.`);
    }
    // The rules of an input know no labels, those of an output no `optional`; both read as absent there.
    if (reader.boolean('optional') === true) {
      reader.warn(reader.at('optional'), `input '${name}' is required all the same: optional inputs are not served.`);
    }
    const labelFile = reader.string('label_filename') ?? '';
    if (labelFile !== '') {
      labelFiles[name] = requireInside(reader, 'label_filename', labelFile);
    }
  }
  return { specs, names, labelFiles };
}

function readDatatype(reader: ConfigReader): Datatype | undefined {
  const name = reader.choice('data_type', datatypeNames);
  const datatype = name === undefined ? undefined : configDatatypes[name];
  return datatype !== undefined && isDatatype(datatype) ? datatype : undefined;
}

function readDims(reader: ConfigReader, least: number): number[] {
  const dims = reader.integers('dims', { least, most: Number.MAX_SAFE_INTEGER });
  if (dims.includes(0)) throw reader.fail(reader.at('dims'), 'a dimension must be at least 1, or -1 when it is free.');
  return dims;
}

/** A file name that stays in its folder. @throws MODEL_UNLOADABLE for an absolute path or one with `..` */
export function requireInside(reader: ConfigReader, field: string, file: string): string {
  if (file.startsWith('/') || file.split(/[/\\]/).includes('..') || file.includes('\0')) {
    throw reader.fail(reader.at(field), `'${field}' must name a file inside the model's folder, got "${file}".`);
  }
  return file;
}

/** Most rows of one warm-up run of a model whose `max_batch_size` is not known yet, and most runs of one sample. */
const maxWarmupRuns = 1000;

/**
 * `model_warmup`. A spec's shape has the batch axis in front when `maxBatchSize` > 0. A `fill.file` is relative
 * to the model's `warmup` folder.
 */
export function readWarmup(config: ConfigReader, maxBatchSize: number | undefined): WarmupSample[] {
  const samples: WarmupSample[] = [];
  for (const reader of config.messages('model_warmup')) {
    const name = reader.string('name') ?? '';
    const batchSize = reader.integer('batch_size', { least: 0 }) ?? 0;
    const count = reader.integer('count', { least: 0, most: maxWarmupRuns }) ?? 0;
    if (batchSize === 0) {
      reader.warn(reader.at('name'), `warm-up sample '${name}' is skipped because its batch_size is 0.`);
      continue;
    }
    const most = Math.max(1, maxBatchSize ?? 1);
    if (batchSize > most) {
      const limit = maxBatchSize === undefined ? 'max_batch_size is not given' : `max_batch_size is ${maxBatchSize}`;
      throw reader.fail(
        reader.at('batch_size'),
        `warm-up sample '${name}' has batch_size ${batchSize}, but ${limit}, so it can be at most ${most}.`,
      );
    }
    const batchAxis = maxBatchSize !== undefined && maxBatchSize > 0 ? [batchSize] : [];
    const inputs = [...reader.entries('inputs')].map(([input, value]) => readWarmupInput(input, value, batchAxis));
    samples.push({ name, batchSize, count: Math.max(1, count), inputs });
  }
  return samples;
}

function readWarmupInput(input: string, reader: ConfigReader, batchAxis: number[]): WarmupSample['inputs'][number] {
  const datatype = readDatatype(reader);
  if (datatype === undefined) throw reader.fail(reader.at('data_type'), `warm-up input '${input}' lacks data_type.`);
  const dims = readDims(reader, 1);
  const given = ['zero_data', 'random_data', 'input_data_file'].filter((field) => reader.has(field));
  if (given.length !== 1) {
    const got = given.length === 0 ? 'none' : given.join(' and ');
    throw reader.fail(
      reader.at(given[1] ?? 'data_type'),
      `warm-up input '${input}' needs exactly one of zero_data, random_data and input_data_file, got ${got}.`,
    );
  }
  const file = reader.string('input_data_file');
  const random = reader.boolean('random_data');
  reader.boolean('zero_data');
  const fill =
    file === undefined
      ? random === undefined
        ? 'zero'
        : 'random'
      : { file: requireInside(reader, 'input_data_file', file) };
  return { spec: { name: input, datatype, shape: [...batchAxis, ...dims] }, fill };
}
