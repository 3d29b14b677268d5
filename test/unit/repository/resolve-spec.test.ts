import { describe, expect, test } from 'vitest';
import type { Datatype } from '../../../core/datatype.js';
import { ShoalError } from '../../../core/errors.js';
import { naturalBatching } from '../../../core/model.js';
import { readModelConfig } from '../../../worker/repository/model-config.js';
import { inferredMaxBatchSize, type ObservedTensor, resolveSpec } from '../../../worker/repository/resolve-spec.js';
import type { VersionPlan } from '../../../worker/repository/version-plan.js';

function plan(text = '', labels: VersionPlan['labels'] = {}): VersionPlan {
  const { config } = readModelConfig(text, 'm', 'm/config.pbtxt');
  return { ...config, model: 'm', version: '1', modelPath: '/m/1/model.onnx', labels };
}

/** A dimension given by a string is free and has that name. */
function seen(name: string, dims: (number | string)[], datatype: Datatype = 'FP32'): ObservedTensor {
  return {
    name,
    datatype,
    shape: dims.map((dim) => (typeof dim === 'string' ? -1 : dim)),
    symbols: dims.map((dim) => (typeof dim === 'string' ? dim : '')),
  };
}

const dense = { inputs: [seen('x', ['N', 3])], outputs: [seen('y', ['N', 10])] };

function failure(run: () => unknown): string {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof ShoalError && thrown.code === 'MODEL_UNLOADABLE') return thrown.message;
    throw thrown;
  }
  return 'no failure';
}

describe('batching without max_batch_size', () => {
  test.each<[string, Parameters<typeof resolveSpec>[1], boolean]>([
    ['all first dimensions have one name', dense, true],
    [
      'unnamed ones agree with any',
      { inputs: [seen('x', ['', 3]), seen('z', ['N'])], outputs: [seen('y', ['', 2])] },
      true,
    ],
    [
      'no names reported at all',
      { inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }], outputs: [seen('y', ['N'])] },
      true,
    ],
    ['other axes may be called anything', { inputs: [seen('x', ['N', 'L'])], outputs: [seen('y', ['N', 'M'])] }, true],
    ['no inputs', { inputs: [], outputs: [seen('y', ['N'])] }, false],
    ['a fixed first dimension', { inputs: [seen('x', [1, 3])], outputs: [seen('y', ['N'])] }, false],
    ['a scalar', { inputs: [seen('x', ['N']), seen('rate', [])], outputs: [seen('y', ['N'])] }, false],
    ['a fixed output', { inputs: [seen('x', ['N'])], outputs: [seen('y', [10])] }, false],
    ['names that differ', { inputs: [seen('x', ['N'])], outputs: [seen('y', ['selected'])] }, false],
    [
      'names that differ, with an unnamed one between',
      { inputs: [seen('x', ['N']), seen('z', [''])], outputs: [seen('y', ['M'])] },
      false,
    ],
  ])('%s', (_, observed, batches) => {
    const { spec, batchingInferred, warnings } = resolveSpec(plan(), observed);
    expect(spec.maxBatchSize).toBe(batches ? inferredMaxBatchSize : 0);
    expect(batchingInferred).toBe(batches);
    expect(warnings.length).toBe(batches ? 0 : 1);
  });

  test('the warning says why not', () => {
    const observed = { inputs: [seen('bytes', ['unk__1', 8])], outputs: [seen('label', ['unk__2', 4])] };
    expect(resolveSpec(plan(), observed).warnings).toEqual([
      "model 'm', version 1 is served one request at a time: the first dimension of 'bytes' is called 'unk__1' and " +
        "that of 'label' 'unk__2'; give max_batch_size if both count rows.",
    ]);
  });

  test('dims of the configuration are whole shapes, and can forbid batching', () => {
    const free = plan('input { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] }');
    expect(resolveSpec(free, dense).batchingInferred).toBe(true);
    const narrowed = resolveSpec(plan('input { name: "x" data_type: TYPE_FP32 dims: [ 1, 3 ] }'), dense);
    expect(narrowed.spec).toMatchObject({
      maxBatchSize: 0,
      inputs: [{ shape: [1, 3] }],
      outputs: [{ shape: [-1, 10] }],
    });
  });

  test('preferred sizes beyond the inferred limit are dropped with a warning', () => {
    const { spec, warnings } = resolveSpec(plan('dynamic_batching { preferred_batch_size: [ 16, 64 ] }'), dense);
    expect(spec.batching.preferredRows).toEqual([16]);
    expect(warnings).toEqual([
      "model 'm', version 1: preferred_batch_size above max_batch_size, which is 32, has no effect.",
    ]);
  });
});

describe('max_batch_size', () => {
  test('0 is obeyed though the model could batch', () => {
    const { spec, batchingInferred } = resolveSpec(plan('max_batch_size: 0'), dense);
    expect(spec.maxBatchSize).toBe(0);
    expect(batchingInferred).toBe(false);
    expect(spec.inputs[0]?.shape).toEqual([-1, 3]);
  });

  test('above 0 holds whatever the dimensions are called', () => {
    const observed = { inputs: [seen('x', ['a', 3])], outputs: [seen('y', ['b', 10])] };
    const { spec, batchingInferred } = resolveSpec(plan('max_batch_size: 7'), observed);
    expect(spec.maxBatchSize).toBe(7);
    expect(batchingInferred).toBe(false);
  });

  test.each([
    [{ inputs: [seen('x', [1, 3])], outputs: [seen('y', ['N', 10])] }, "input 'x' of the model has the shape [1,3]"],
    [{ inputs: [seen('x', ['N', 3])], outputs: [seen('y', [])] }, "output 'y' of the model has the shape []"],
  ])('above 0 needs a free first dimension everywhere', (observed, expected) => {
    const message = failure(() => resolveSpec(plan('max_batch_size: 8'), observed));
    expect(message).toContain("max_batch_size of model 'm', version 1 is 8");
    expect(message).toContain(expected);
  });
});

describe('the declared signature against the model', () => {
  test('the whole spec: order, batch axis, narrowing and labels', () => {
    const text = `max_batch_size: 8
      input { name: "b" data_type: TYPE_STRING dims: [ -1 ] }
      input { name: "a" data_type: TYPE_FP32 dims: [ 5, -1 ] }
      output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
      dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 9 }`;
    const observed = {
      inputs: [seen('a', ['N', 'W', 3]), seen('b', ['N', 1], 'BYTES'), seen('c', ['N'], 'INT64')],
      outputs: [seen('y', ['N', 2])],
    };
    expect(resolveSpec(plan(text, { y: ['no', 'yes'] }), observed)).toEqual({
      spec: {
        model: 'm',
        version: '1',
        platform: 'onnxruntime_onnx',
        maxBatchSize: 8,
        inputs: [
          { name: 'a', datatype: 'FP32', shape: [-1, 5, 3] },
          { name: 'b', datatype: 'BYTES', shape: [-1, 1] },
          { name: 'c', datatype: 'INT64', shape: [-1] },
        ],
        outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
        batching: { ...naturalBatching, maxQueueDelayUs: 9, preferredRows: [4] },
        buckets: undefined,
        resources: [],
        deviceWeight: 1,
        labels: { y: ['no', 'yes'] },
      },
      batchingInferred: false,
      warnings: [],
    });
  });

  test('a scalar is declared with empty dims', () => {
    const observed = { inputs: [seen('rate', [], 'INT64')], outputs: [seen('y', [4])] };
    const text = 'max_batch_size: 0 input { name: "rate" data_type: TYPE_INT64 dims: [ ] }';
    expect(resolveSpec(plan(text), observed).spec.inputs[0]?.shape).toEqual([]);
    const wrong = 'max_batch_size: 0 input { name: "rate" data_type: TYPE_INT64 dims: [ 1 ] }';
    expect(failure(() => resolveSpec(plan(wrong), observed))).toContain(
      "input 'rate' with dims [1], but the model has []",
    );
  });

  test.each([
    [
      'max_batch_size: 0 input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] }',
      "declares the input 'X', but the model's inputs are 'x'.",
    ],
    [
      'max_batch_size: 4 output { name: "z" data_type: TYPE_FP32 dims: [ 1 ] }',
      "declares the output 'z', but the model's outputs are 'y'.",
    ],
    [
      'max_batch_size: 4 input { name: "x" data_type: TYPE_STRING dims: [ 3 ] }',
      "declares input 'x' as TYPE_STRING, but the model has TYPE_FP32.",
    ],
    [
      'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }',
      "declares input 'x' with dims [4], but the model has [3] (behind the batch axis).",
    ],
    [
      'max_batch_size: 4 output { name: "y" data_type: TYPE_FP32 dims: [ -1, 10 ] }',
      "declares output 'y' with dims [-1,10], but the model has [10] (behind the batch axis).",
    ],
    [
      'max_batch_size: 0 output { name: "y" data_type: TYPE_FP32 dims: [ -1, 9 ] }',
      "declares output 'y' with dims [-1,9], but the model has [-1,10].",
    ],
    [
      'input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }',
      "declares input 'x' with dims [3], but the model has [-1,3]. Give max_batch_size, or list the batch axis among the dims.",
    ],
  ])('%s', (text, expected) => {
    expect(failure(() => resolveSpec(plan(text), dense))).toBe(`config.pbtxt of model 'm', version 1 ${expected}`);
  });

  test('labels of an output that the model lacks', () => {
    expect(failure(() => resolveSpec(plan('', { z: ['a'] }), dense))).toContain("declares the output 'z'");
  });

  test('a number of labels that is not the number of classes is worth a warning', () => {
    expect(resolveSpec(plan('', { y: ['a', 'b'] }), dense).warnings).toEqual([
      "model 'm', version 1: output 'y' has 10 classes, but 2 labels.",
    ]);
  });
});

describe('sequence axes against the model', () => {
  const masked = {
    inputs: [
      seen('ids', ['N', 'L'], 'INT64'),
      seen('mask', ['N', 'L', 2], 'BOOL'),
      seen('half', ['N', ''], 'FP16'),
      seen('text', ['N', ''], 'BYTES'),
    ],
    outputs: [seen('logits', ['N', 'L', 5]), seen('names', ['N', ''], 'BYTES'), seen('pooled', ['N', 5])],
  };
  const buckets = (axes: string, batch = 'max_batch_size: 8'): VersionPlan =>
    plan(`${batch}
      parameters { key: "sequence_buckets" value { string_value: "8, 64" } }
      parameters { key: "sequence_axes" value { string_value: "${axes}" } }`);

  test('are divided into inputs and outputs', () => {
    const { spec, warnings } = resolveSpec(buckets('ids:1=7, mask:1=0,half:1=-1e4,logits:1'), masked);
    expect(spec.buckets).toEqual({
      lengths: [8, 64],
      inputs: [
        { tensor: 'ids', axis: 1, padValue: 7 },
        { tensor: 'mask', axis: 1, padValue: 0 },
        { tensor: 'half', axis: 1, padValue: -10_000 },
      ],
      outputs: [{ tensor: 'logits', axis: 1, padValue: 0 }],
    });
    expect(warnings).toEqual([]);
  });

  test('hold where batching is inferred, and have no effect where it is not', () => {
    const inferred = { inputs: [seen('ids', ['N', 'L'], 'INT64')], outputs: [seen('y', ['N', 3])] };
    expect(resolveSpec(buckets('ids:1=0', ''), inferred).spec.buckets?.lengths).toEqual([8, 64]);
    const single = { ...inferred, outputs: [seen('y', [3])] };
    const { spec, warnings } = resolveSpec(buckets('ids:1=0', ''), single);
    expect(spec.buckets).toBeUndefined();
    expect(warnings).toContain(
      "model 'm', version 1: the parameter 'sequence_buckets' has no effect, because requests are not batched.",
    );
  });

  test('a free axis of the same name that is left out is worth a warning', () => {
    expect(resolveSpec(buckets('ids:1=0'), masked).warnings).toEqual([
      "model 'm', version 1: axis 1 of the input 'mask' is called 'L' like a sequence axis, but 'sequence_axes' leaves it out.",
      "model 'm', version 1: axis 1 of the output 'logits' is called 'L' like a sequence axis, but 'sequence_axes' leaves it out.",
    ]);
  });

  test.each([
    ['idz:1=0', "names 'idz', but the model's tensors are 'ids', 'mask', 'half', 'text', 'logits', 'names', 'pooled'."],
    ['ids:1=0,mask:1', "must say what the input 'mask' is padded with, as in 'mask:1=0'."],
    ['ids:1=0,logits:1=0', "pads 'logits', which is an output: leave the '=' out."],
    ['ids:2=0', "names axis 2 of the input 'ids', which must be free, but the shape is [-1,-1]."],
    ['mask:2=0', "names axis 2 of the input 'mask', which must be free, but the shape is [-1,-1,2]."],
    ['ids:1=0,pooled:1', "names axis 1 of the output 'pooled', which must be free, but the shape is [-1,5]."],
    ['text:1=0', "names the input 'text', but strings cannot be padded."],
    ['ids:1=0,names:1', "names the output 'names', but strings cannot be padded."],
    ['ids:1=0.5', "pads the input 'ids' with 0.5, which TYPE_INT64 cannot hold."],
    ['mask:1=2', "pads the input 'mask' with 2, which TYPE_BOOL cannot hold."],
    ['half:1=65520', "pads the input 'half' with 65520, which TYPE_FP16 cannot hold."],
  ])('%s', (axes, expected) => {
    expect(failure(() => resolveSpec(buckets(axes), masked))).toBe(
      `The parameter 'sequence_axes' of model 'm', version 1 ${expected}`,
    );
  });

  test('one input is padded with one value', () => {
    const square = { inputs: [seen('x', ['N', 'L', 'L'])], outputs: [seen('y', ['N', 3])] };
    expect(resolveSpec(buckets('x:1=2,x:2=2'), square).spec.buckets?.inputs).toHaveLength(2);
    expect(failure(() => resolveSpec(buckets('x:1=2,x:2=1'), square))).toContain(
      "pads the input 'x' with 2 and with 1: give one value.",
    );
  });
});

describe('warm-up samples against the model', () => {
  const warmup = (inputs: string): VersionPlan =>
    plan(`max_batch_size: 4 model_warmup { name: "w" batch_size: 2 ${inputs} }`);
  const input = (name: string, type: string, dims: string): string =>
    `inputs { key: "${name}" value { data_type: ${type} dims: [ ${dims} ] zero_data: true } }`;

  test('a fitting one', () => {
    expect(failure(() => resolveSpec(warmup(input('x', 'TYPE_FP32', '3')), dense))).toBe('no failure');
  });

  test.each([
    [input('z', 'TYPE_FP32', '3'), "gives the input 'z', which the model does not have."],
    [input('x', 'TYPE_INT8', '3'), "gives input 'x' as TYPE_INT8, but the model has TYPE_FP32."],
    [input('x', 'TYPE_FP32', '4'), "gives input 'x' the shape [2,4], but the model has [-1,3]."],
    ['', "lacks the input 'x'."],
  ])('%s', (text, expected) => {
    expect(failure(() => resolveSpec(warmup(text), dense))).toBe(
      `Warm-up sample 'w' of model 'm', version 1 ${expected}`,
    );
  });
});
