import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import { readModelConfig, silentConfig } from '../../../worker/repository/model-config.js';

const read = (text: string) => readModelConfig(text, 'm', 'm/config.pbtxt');
const config = (text: string) => read(text).config;

function failure(text: string): string {
  try {
    read(text);
  } catch (thrown) {
    if (thrown instanceof ShoalError && thrown.code === 'MODEL_UNLOADABLE') return thrown.message;
    throw thrown;
  }
  return 'no failure';
}

const whole = `
name: "m"
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: 16
input [
  { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] },
  { name: "text" data_type: TYPE_STRING dims: [ 1 ] optional: false }
]
output { name: "scores" data_type: TYPE_FP32 dims: 10 label_filename: "labels.txt" }
output { name: "embedding" }
dynamic_batching { preferred_batch_size: [ 8, 4, 8 ] max_queue_delay_microseconds: 500 }
instance_group [ { kind: KIND_GPU count: 2 gpus: [ 0, 1, 0 ] }, { kind: KIND_CPU } ]
default_model_filename: "net.onnx"
version_policy: { latest: { num_versions: 2 } }
parameters { key: "intra_op_thread_count" value: { string_value: "3" } }
parameters: [ { key: "inter_op_thread_count", value: { string_value: "0" } } ]
optimization { graph { level: 1 } execution_accelerators { gpu_execution_accelerator: [ { name: "tensorrt" } ] } }
model_warmup {
  name: "w" batch_size: 4 count: 3
  inputs { key: "ids" value: { data_type: TYPE_INT64 dims: [ 7 ] random_data: true } }
  inputs { key: "text" value: { data_type: TYPE_STRING dims: [ 1 ] input_data_file: "text.bin" } }
}
`;

describe('a whole configuration', () => {
  test('is read field by field, without a warning', () => {
    expect(read(whole)).toEqual({
      config: {
        platform: 'onnxruntime_onnx',
        maxBatchSize: 16,
        inputs: [
          { name: 'ids', datatype: 'INT64', shape: [-1] },
          { name: 'text', datatype: 'BYTES', shape: [1] },
        ],
        outputs: [{ name: 'scores', datatype: 'FP32', shape: [10] }],
        labelFiles: { scores: 'labels.txt' },
        maxQueueDelayUs: 500,
        preferredRows: [4, 8],
        instanceGroups: [
          { kind: 'gpu', count: 2, gpus: [0, 1] },
          { kind: 'cpu', count: 1, gpus: [] },
        ],
        session: { intraOpThreads: 3, interOpThreads: undefined, graphOptimization: 'extended', provider: 'tensorrt' },
        warmup: [
          {
            name: 'w',
            batchSize: 4,
            count: 3,
            inputs: [
              { spec: { name: 'ids', datatype: 'INT64', shape: [4, 7] }, fill: 'random' },
              { spec: { name: 'text', datatype: 'BYTES', shape: [4, 1] }, fill: { file: 'text.bin' } },
            ],
          },
        ],
        versionPolicy: { kind: 'latest', count: 2 },
        modelFile: 'net.onnx',
      },
      warnings: [],
    });
  });

  test('an empty one is the same as none', () => {
    expect(config('')).toEqual(silentConfig);
    expect(silentConfig).toMatchObject({
      maxBatchSize: undefined,
      versionPolicy: { kind: 'latest', count: 1 },
      instanceGroups: [{ kind: 'auto', count: 1, gpus: [] }],
      modelFile: 'model.onnx',
    });
  });

  test.each([
    ['version_policy { all {} }', { kind: 'all' }],
    ['version_policy { specific { versions: [ 3, 1, 3 ] } }', { kind: 'specific', versions: ['3', '1'] }],
    ['version_policy { latest {} }', { kind: 'latest', count: 1 }],
    ['version_policy {}', { kind: 'latest', count: 1 }],
  ])('%s', (text, expected) => {
    expect(config(text).versionPolicy).toEqual(expected);
  });

  test.each([
    ['level: -1', 'basic'],
    ['level: 0', undefined],
    ['level: 1', 'extended'],
    ['level: 2', 'disabled'],
  ])('graph %s as in Triton', (text, expected) => {
    expect(config(`optimization { graph { ${text} } }`).session.graphOptimization).toBe(expected);
  });

  test('the execution_provider parameter wins over accelerators', () => {
    const text = `optimization { execution_accelerators { gpu_execution_accelerator { name: "cuda" } } }`;
    expect(config(text).session.provider).toBe('cuda');
    const both = `${text} parameters { key: "execution_provider" value { string_value: "webgpu" } }`;
    expect(config(both).session.provider).toBe('webgpu');
  });

  test('integers may be hexadecimal and octal', () => {
    expect(config('max_batch_size: 0x10').maxBatchSize).toBe(16);
    expect(config('max_batch_size: 010').maxBatchSize).toBe(8);
  });
});

describe('warnings name field, file and line', () => {
  test.each([
    ['\nresponse_cache { enable: true }', "m/config.pbtxt:2:1: 'response_cache' has no effect in Shoal."],
    ['sequence_batching { direct {} }', "m/config.pbtxt:1:1: 'sequence_batching' has no effect in Shoal."],
    [
      'dynamic_batching { preserve_ordering: true }',
      "m/config.pbtxt:1:20: 'dynamic_batching.preserve_ordering' has no effect in Shoal.",
    ],
    [
      'input { name: "x" optional: true }',
      "m/config.pbtxt:1:19: input 'x' is required all the same: optional inputs are not served.",
    ],
    [
      'max_batch_size: 0 dynamic_batching {}',
      "m/config.pbtxt:1:19: 'dynamic_batching' has no effect because max_batch_size is 0.",
    ],
    [
      'parameters { key: "execution_mode" value { string_value: "1" } }',
      "m/config.pbtxt:1:44: the parameter 'execution_mode' has no effect in Shoal.",
    ],
    [
      'parameters { key: "intra_op_threads_count" value { string_value: "1" } }',
      "m/config.pbtxt:1:52: the parameter 'intra_op_threads_count' has no effect in Shoal. Did you mean 'intra_op_thread_count'?",
    ],
    [
      'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
      "m/config.pbtxt:1:69: the execution accelerator 'openvino' has no effect in Shoal.",
    ],
    ['instance_group { kind: KIND_MODEL }', 'm/config.pbtxt:1:18: KIND_MODEL is read as KIND_AUTO.'],
    ['model_warmup { name: "w" }', "m/config.pbtxt:1:16: warm-up sample 'w' is skipped because its batch_size is 0."],
  ])('%s', (text, expected) => {
    expect(read(text).warnings).toEqual([expected]);
  });
});

describe('errors say what was expected and what was there', () => {
  test.each([
    ['max_batchsize: 4', "1:1: a model configuration has no field 'max_batchsize'. Did you mean 'max_batch_size'?"],
    ['quux: 4', "1:1: a model configuration has no field 'quux'."],
    ['constructor: 4', "1:1: a model configuration has no field 'constructor'."],
    ['input { name: "x" dim: 1 }', "1:19: 'input' has no field 'dim'. Did you mean 'dims'?"],
    ['name: "n"', "1:1: 'name' must be that of the model's folder, 'm', got 'n'."],
    ['platform: "pytorch_libtorch"', `1:1: 'platform' must be "onnxruntime_onnx", got "pytorch_libtorch".`],
    ['backend: "python"', `1:1: 'backend' must be "onnxruntime", got "python".`],
    ['max_batch_size: 1\nmax_batch_size: 2', "2:1: 'max_batch_size' is given twice; it was given before at line 1."],
    ['max_batch_size: [1]', "1:1: 'max_batch_size' takes one value, not a list."],
    ['max_batch_size: -1', "1:17: 'max_batch_size' must be at least 0, got -1."],
    ['max_batch_size: 1.5', "1:17: 'max_batch_size' must be an integer, got 1.5."],
    ['max_batch_size: "4"', `1:17: 'max_batch_size' must be an integer, got "4".`],
    ['max_batch_size: 4294967296', "1:17: 'max_batch_size' must be at most 2147483647, got 4294967296."],
    ['name: m', "1:7: 'name' must be a string in quotes, got m."],
    ['input: 4', "1:8: 'input' must be a message in braces, got 4."],
    ['input { data_type: TYPE_FP32 }', "1:7: every 'input' needs a name."],
    ['input { name: "x" } input { name: "x" }', "1:29: input 'x' is declared twice."],
    ['input { name: "x" dims: 1 }', "1:9: input 'x' lacks data_type: give data_type and dims, or neither."],
    ['output { name: "x" data_type: TYPE_FP32 }', "1:10: output 'x' lacks dims: give data_type and dims, or neither."],
    [
      'input { name: "x" data_type: TYPE_INT64 dims: [ 2, 0 ] }',
      '1:41: a dimension must be at least 1, or -1 when it is free.',
    ],
    ['input { name: "x" dims: -2 }', "1:25: 'input.dims' must be at least -1, got -2."],
    [
      'input { name: "x" reshape { shape: [ ] } }',
      "1:19: 'input.reshape' is not supported: declare the shape that the model itself has.",
    ],
    ['input { name: "x" optional: 7 }', "1:29: 'input.optional' must be true or false, got 7."],
    [
      'output { name: "y" label_filename: "../x" }',
      `1:20: 'label_filename' must name a file inside the model's folder, got "../x".`,
    ],
    [
      'default_model_filename: "/etc/passwd"',
      `1:1: 'default_model_filename' must name a file inside the model's folder, got "/etc/passwd".`,
    ],
    [
      'max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4, 16 ] }',
      "1:38: 'dynamic_batching.preferred_batch_size' 16 is larger than max_batch_size, which is 8.",
    ],
    [
      'dynamic_batching { max_queue_delay_microseconds: 3600000001 }',
      "1:50: 'dynamic_batching.max_queue_delay_microseconds' must be at most 3600000000, got 3600000001.",
    ],
    ['instance_group { kind: KIND_CPU gpus: 0 }', "1:33: 'instance_group.gpus' cannot be given with KIND_CPU."],
    ['instance_group { count: 257 }', "1:25: 'instance_group.count' must be at most 256, got 257."],
    ['version_policy { all {} latest {} }', "1:18: 'version_policy' takes one choice, got latest and all."],
    ['version_policy { specific {} }', "1:18: 'version_policy.specific' needs at least one version, got none."],
    [
      'version_policy { specific { versions: 0 } }',
      "1:39: 'version_policy.specific.versions' must be at least 1, got 0.",
    ],
    ['optimization { graph { level: 3 } }', "1:24: 'optimization.graph.level' must be -1, 0, 1 or 2, got 3."],
    [
      'parameters { key: "intra_op_thread_count" value { string_value: "many" } }',
      `1:51: the parameter 'intra_op_thread_count' must be an integer from 0 to 1024, got "many".`,
    ],
    [
      'parameters { key: "execution_provider" value { string_value: "CUDA" } }',
      `1:48: the parameter 'execution_provider' must be one of cpu, webgpu, cuda, tensorrt, got "CUDA".`,
    ],
    ['parameters { key: "a" }', `1:14: 'parameters' has no value for "a".`],
    [
      'model_warmup { batch_size: 2 name: "w" }',
      "1:16: warm-up sample 'w' has batch_size 2, but max_batch_size is not given, so it can be at most 1.",
    ],
    [
      'model_warmup { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 zero_data: true random_data: true } } }',
      "1:101: warm-up input 'x' needs exactly one of zero_data, random_data and input_data_file, got zero_data and random_data.",
    ],
    [
      'model_warmup { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: -1 zero_data: true } } }',
      "1:83: 'model_warmup.inputs.value.dims' must be at least 1, got -1.",
    ],
  ])('%s', (text, expected) => {
    expect(failure(text)).toBe(`m/config.pbtxt:${expected}`);
  });

  test('an enum is named with its choices and the nearest of them', () => {
    expect(failure('input { name: "x" data_type: TYPE_FLOAT32 }')).toContain(
      "'input.data_type' must be one of TYPE_BOOL,",
    );
    expect(failure('input { name: "x" data_type: TYPE_FP23 }')).toContain('(perhaps TYPE_FP');
    expect(failure('instance_group { kind: "KIND_GPU" }')).toContain('must be KIND_GPU without quotes, got "KIND_GPU"');
  });
});

test('a mangled configuration is a ShoalError or still a configuration', () => {
  const edit = fc.tuple(
    fc.nat(whole.length),
    fc.nat(12),
    fc.oneof(
      fc.string({ maxLength: 4 }),
      fc.constantFrom('{', '}', '-1', '"', '[', ']', 'name: ', '99999999999999999999', '__proto__: 1 '),
    ),
  );
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      let text = whole;
      for (const [at, cut, put] of edits) text = text.slice(0, at) + put + text.slice(at + cut);
      // `failure` rethrows anything that is not a ShoalError.
      expect(failure(text)).toMatch(/^no failure$|^m\/config\.pbtxt:\d+:\d+: .*\.$|Did you mean/s);
    }),
    { numRuns: 2000 },
  );
});
