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

const parameter = (key: string, value: string): string =>
  `parameters { key: "${key}" value { string_value: "${value}" } }`;
const sequences = (buckets: string, axes: string): string =>
  `${parameter('sequence_buckets', buckets)} ${parameter('sequence_axes', axes)}`;

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
dynamic_batching {
  preferred_batch_size: [ 8, 4, 8 ]
  max_queue_delay_microseconds: 500
  preserve_ordering: false
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy {
    timeout_action: DELAY default_timeout_microseconds: 1000 allow_timeout_override: true max_queue_size: 9
  }
  priority_queue_policy { key: 3 value: { max_queue_size: 4 } }
}
instance_group [
  {
    kind: KIND_GPU count: 2 gpus: [ 0, 1, 0 ]
    rate_limiter { resources [ { name: "r1" count: 4 }, { name: "link" global: true count: 1 } ] priority: 2 }
  },
  { kind: KIND_CPU }
]
parameters { key: "priority_mode" value: { string_value: "strict" } }
parameters { key: "fixed_batch_sizes" value: { string_value: "8, 16" } }
parameters { key: "sequence_buckets" value: { string_value: "64,128" } }
parameters { key: "sequence_axes" value: { string_value: "ids:1=0, a:0:2=-1.5,embedding:1" } }
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
        batching: {
          maxQueueDelayUs: 500,
          preferredRows: [4, 8],
          preserveOrdering: false,
          priorityLevels: 3,
          defaultPriorityLevel: 2,
          priorityMode: 'strict',
          queuePolicy: { timeoutUs: 1000, timeoutAction: 'delay', allowTimeoutOverride: true, maxRequests: 9 },
          queuePolicyByLevel: {
            3: { timeoutUs: 0, timeoutAction: 'reject', allowTimeoutOverride: false, maxRequests: 4 },
          },
          fixedRows: [8, 16],
        },
        buckets: {
          lengths: [64, 128],
          axes: [
            { tensor: 'ids', axis: 1, padValue: 0 },
            { tensor: 'a:0', axis: 2, padValue: -1.5 },
            { tensor: 'embedding', axis: 1, padValue: undefined },
          ],
        },
        instanceGroups: [
          { kind: 'gpu', count: 2, gpus: [0, 1] },
          { kind: 'cpu', count: 1, gpus: [] },
        ],
        resources: [
          { name: 'r1', count: 4, global: false },
          { name: 'link', count: 1, global: true },
        ],
        deviceWeight: 0.5,
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

describe('rate_limiter', () => {
  const limited = (...limiters: string[]) =>
    config(limiters.map((text) => `instance_group { rate_limiter { ${text} } }`).join('\n'));
  const resource = (name: string, count: number, more = '') => `resources { name: "${name}" count: ${count} ${more} }`;

  test('a priority of 0 is 1, as in Triton', () => {
    expect(limited('priority: 0').deviceWeight).toBe(1);
    expect(limited('priority: 4').deviceWeight).toBe(0.25);
    expect(limited('').deviceWeight).toBe(1);
  });

  test('of several groups the first that says something is asked', () => {
    const { resources, deviceWeight } = limited('', resource('a', 2), `priority: 2 ${resource('a', 2)}`, 'priority: 2');
    expect(resources).toEqual([{ name: 'a', count: 2, global: false }]);
    expect(deviceWeight).toBe(0.5);
  });

  test('the same resources in another order are the same', () => {
    const [a, b] = [resource('a', 2), resource('b', 1, 'global: true')];
    const text = `instance_group { rate_limiter { ${a} ${b} } } instance_group { rate_limiter { ${b} ${a} } }`;
    expect(read(text).warnings).toEqual([]);
  });
});

describe('warnings name field, file and line', () => {
  test.each([
    ['\nresponse_cache { enable: true }', "m/config.pbtxt:2:1: 'response_cache' has no effect in Shoal."],
    ['sequence_batching { direct {} }', "m/config.pbtxt:1:1: 'sequence_batching' has no effect in Shoal."],
    [
      'optimization { eager_batching: true }',
      "m/config.pbtxt:1:16: 'optimization.eager_batching' has no effect in Shoal.",
    ],
    [
      'max_batch_size: 0 dynamic_batching { max_queue_delay_microseconds: 5 priority_levels: 1 default_priority_level: 1 }',
      "m/config.pbtxt:1:38: 'dynamic_batching.max_queue_delay_microseconds' has no effect because max_batch_size is 0.",
    ],
    [
      'dynamic_batching { default_priority_level: 1 }',
      "m/config.pbtxt:1:20: 'dynamic_batching.default_priority_level' has no effect because priority_levels is 0.",
    ],
    [
      'dynamic_batching { priority_queue_policy { key: 1 value { } } }',
      "m/config.pbtxt:1:20: 'dynamic_batching.priority_queue_policy' has no effect because priority_levels is 0.",
    ],
    [
      'parameters { key: "priority_mode" value { string_value: "strict" } }',
      "m/config.pbtxt:1:43: the parameter 'priority_mode' has no effect without dynamic_batching.priority_levels.",
    ],
    [
      'max_batch_size: 0 parameters { key: "fixed_batch_sizes" value { string_value: "8" } }',
      "m/config.pbtxt:1:65: the parameter 'fixed_batch_sizes' has no effect because max_batch_size is 0.",
    ],
    [
      `max_batch_size: 0 ${sequences('8', 'x:1=0')}`,
      "m/config.pbtxt:1:64: the parameter 'sequence_buckets' has no effect because max_batch_size is 0.",
    ],
    [
      'instance_group { rate_limiter { resources { name: "r" } } }',
      "m/config.pbtxt:1:45: the resource 'r' has no effect because its count is 0.",
    ],
    [
      'instance_group [ { rate_limiter { priority: 2 } }, { rate_limiter { priority: 3 } } ]',
      "m/config.pbtxt:1:54: 'instance_group.rate_limiter' differs from that of an earlier group, which holds for all of them.",
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
    [
      'dynamic_batching { priority_levels: 2 }',
      "1:20: 'dynamic_batching.default_priority_level' must be from 1 to priority_levels, which is 2, got none.",
    ],
    [
      'dynamic_batching { priority_levels: 2 default_priority_level: 3 }',
      "1:39: 'dynamic_batching.default_priority_level' must be from 1 to priority_levels, which is 2, got 3.",
    ],
    [
      'dynamic_batching { priority_levels: 1001 default_priority_level: 1 }',
      "1:37: 'dynamic_batching.priority_levels' must be at most 1000, got 1001.",
    ],
    [
      'dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { } } }',
      "1:89: 'dynamic_batching.priority_queue_policy' must be for a level from 1 to 2, got 3.",
    ],
    [
      'dynamic_batching { priority_queue_policy [ { key: 1 value { } }, { key: 1 value { } } ] }',
      "1:68: 'dynamic_batching.priority_queue_policy' has the key 1 twice.",
    ],
    [
      'dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }',
      "1:20: 'dynamic_batching.preserve_ordering' cannot be given with 2 priority_levels: give one or none.",
    ],
    [
      'dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 } }',
      "1:20: 'dynamic_batching.preserve_ordering' cannot be given with a queue policy whose timeout_action is DELAY.",
    ],
    [
      'dynamic_batching { default_queue_policy { timeout_action: WAIT } }',
      "1:59: 'dynamic_batching.default_queue_policy.timeout_action' must be one of REJECT, DELAY, got WAIT.",
    ],
    [
      'dynamic_batching { default_queue_policy { max_queue_size: -1 } }',
      "1:59: 'dynamic_batching.default_queue_policy.max_queue_size' must be at least 0, got -1.",
    ],
    [
      'instance_group { rate_limiter { resources { count: 1 } } }',
      "1:43: every 'instance_group.rate_limiter.resources' needs a name.",
    ],
    [
      'instance_group { rate_limiter { resources { name: "r" count: 1 } resources { name: "r" count: 2 } } }',
      "1:78: 'instance_group.rate_limiter.resources' has the name 'r' twice.",
    ],
    [
      parameter('priority_mode', 'fair'),
      `1:43: the parameter 'priority_mode' must be one of weighted, strict, got "fair".`,
    ],
    [
      `max_batch_size: 8 ${parameter('fixed_batch_sizes', '8,4')}`,
      `1:65: the parameter 'fixed_batch_sizes' must be ascending integers with commas between, such as "8,64", got "8,4".`,
    ],
    [
      `max_batch_size: 8 ${parameter('fixed_batch_sizes', '0x4,8')}`,
      `1:65: the parameter 'fixed_batch_sizes' must be ascending integers with commas between, such as "8,64", got "0x4,8".`,
    ],
    [
      `max_batch_size: 64 ${parameter('fixed_batch_sizes', '4,8')}`,
      `1:66: the parameter 'fixed_batch_sizes' must end with max_batch_size, which is 64, got "4,8".`,
    ],
    [parameter('fixed_batch_sizes', '4,8'), `1:47: the parameter 'fixed_batch_sizes' needs max_batch_size, got "4,8".`],
    [
      parameter('sequence_buckets', '8'),
      `1:46: the parameter 'sequence_buckets' needs the parameter 'sequence_axes' too, got "8".`,
    ],
    [
      parameter('sequence_axes', 'x:1=0'),
      `1:43: the parameter 'sequence_axes' needs the parameter 'sequence_buckets' too, got "x:1=0".`,
    ],
    [
      parameter('sequence_axes', 'x=0'),
      `1:43: the parameter 'sequence_axes' must be entries INPUT:AXIS=PAD or OUTPUT:AXIS with commas between, such as "ids:1=0,logits:1", got "x=0".`,
    ],
    [
      parameter('sequence_axes', 'x:0=0'),
      `1:43: the parameter 'sequence_axes' cannot name axis 0 of 'x', which counts rows, got "x:0=0".`,
    ],
    [
      parameter('sequence_axes', 'x:1=0,x:1'),
      `1:43: the parameter 'sequence_axes' must name axis 1 of 'x' once, got "x:1=0,x:1".`,
    ],
    [
      parameter('sequence_axes', 'y:1'),
      `1:43: the parameter 'sequence_axes' must name at least one input with what it is padded with, as in "ids:1=0", got "y:1".`,
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
