import { describe, expect, it } from 'vitest';
import { checkRequest, timeoutMs } from '../../../coordinator/admission/check-request.js';
import type { Datatype } from '../../../core/datatype.js';
import { ShoalError } from '../../../core/errors.js';
import type { InferRequest } from '../../../core/inference.js';
import type { ModelSpec } from '../../../core/model.js';
import { doublingSpec } from '../../support/simulated-worker.js';

const spec: ModelSpec = doublingSpec({
  inputs: [
    { name: 'ids', datatype: 'INT64', shape: [-1, -1] },
    { name: 'mask', datatype: 'BOOL', shape: [-1, 3] },
  ],
  outputs: [
    { name: 'y', datatype: 'FP32', shape: [-1, 2] },
    { name: 'z', datatype: 'FP32', shape: [-1, 2] },
  ],
});

const tensor = (name: string, datatype: Datatype, shape: number[], bytes: number) => ({
  name,
  datatype,
  shape,
  data: new Uint8Array(bytes),
});
const ids = tensor('ids', 'INT64', [2, 5], 80);
const mask = tensor('mask', 'BOOL', [2, 3], 6);

const request = (inputs: InferRequest['inputs'], outputs: string[] = []): InferRequest => ({
  model: 'double',
  version: '',
  id: '',
  parameters: {},
  inputs,
  outputs: outputs.map((name) => ({ name, parameters: {} })),
});

function refusal(model: ModelSpec, message: InferRequest): string {
  try {
    checkRequest(model, message);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ShoalError);
    expect((thrown as ShoalError).code).toBe('INVALID_REQUEST');
    return (thrown as ShoalError).message;
  }
  return 'admitted';
}

describe('checkRequest', () => {
  it('admits what fits, in any order, and orders it as the model does', () => {
    const admitted = checkRequest(spec, request([mask, ids]));
    expect(admitted.inputs.map((input) => input.name)).toEqual(['ids', 'mask']);
    expect(admitted.rows).toBe(2);
    expect(admitted.outputs).toEqual(['y', 'z']);
  });

  it('gives the same shape key to requests that differ in rows only', () => {
    const one = checkRequest(spec, request([tensor('ids', 'INT64', [1, 5], 40), tensor('mask', 'BOOL', [1, 3], 3)]));
    const longer = checkRequest(spec, request([tensor('ids', 'INT64', [2, 6], 96), mask]));
    expect(one.shapeKey).toBe(checkRequest(spec, request([ids, mask])).shapeKey);
    expect(longer.shapeKey).not.toBe(one.shapeKey);
  });

  it.each([
    ['a missing input', request([ids]), "Model 'double' takes inputs 'ids', 'mask', got 'ids'."],
    [
      'an extra input',
      request([ids, mask, { ...mask, name: 'more' }]),
      "Model 'double' takes inputs 'ids', 'mask', got 'ids', 'mask', 'more'.",
    ],
    [
      'a wrong name',
      request([ids, { ...mask, name: 'masc' }]),
      "Model 'double' takes inputs 'ids', 'mask', got 'ids', 'masc'.",
    ],
    ['the same input twice', request([ids, ids]), "Model 'double' takes inputs 'ids', 'mask', got 'ids', 'ids'."],
    [
      'a wrong datatype',
      request([{ ...ids, datatype: 'INT32' }, mask]),
      "Input 'ids' of model 'double' has datatype INT64, got INT32.",
    ],
    [
      'a wrong rank',
      request([ids, { ...mask, shape: [6] }]),
      "Input 'mask' of model 'double' has shape [-1,3] (-1: any length), got [6].",
    ],
    [
      'a wrong dimension',
      request([ids, { ...mask, shape: [3, 2] }]),
      "Input 'mask' of model 'double' has shape [-1,3] (-1: any length), got [3,2].",
    ],
    [
      'a wrong byte length',
      request([ids, { ...mask, data: new Uint8Array(5) }]),
      "Input 'mask' of model 'double' with shape [2,3] and datatype BOOL takes 6 bytes, got 5.",
    ],
    [
      'zero rows',
      request([tensor('ids', 'INT64', [0, 5], 0), tensor('mask', 'BOOL', [0, 3], 0)]),
      "Input 'ids' of model 'double' has shape [0,5]: zero rows cannot be executed.",
    ],
    [
      'rows that disagree',
      request([ids, tensor('mask', 'BOOL', [1, 3], 3)]),
      "Inputs of model 'double' disagree on the number of rows: 'ids' has 2, 'mask' has 1.",
    ],
    ['an unknown output', request([ids, mask], ['y', 'w']), "Model 'double' has outputs 'y', 'z', not 'w'."],
    ['an output requested twice', request([ids, mask], ['y', 'y']), "Output 'y' is requested twice."],
  ])('refuses %s', (_what, message, sentence) => {
    expect(refusal(spec, message)).toBe(sentence);
  });

  it('checks that BYTES elements fill their tensor exactly and are UTF-8', () => {
    const text = doublingSpec({ inputs: [{ name: 'x', datatype: 'BYTES', shape: [-1, 2] }] });
    const bytes = (...elements: number[][]): Uint8Array =>
      new Uint8Array(elements.flatMap((element) => [element.length, 0, 0, 0, ...element]));
    const ask = (data: Uint8Array) => refusal(text, request([{ name: 'x', datatype: 'BYTES', shape: [1, 2], data }]));
    expect(ask(bytes([0x61], []))).toBe('admitted');
    expect(ask(bytes([0x61]))).toContain('takes 2 length-prefixed elements');
    expect(ask(bytes([0x61], [], []))).toContain('takes 2 length-prefixed elements');
    expect(ask(new Uint8Array([255, 255, 255, 255, 0, 0, 0, 0]))).toContain('takes 2 length-prefixed elements');
    expect(ask(bytes([0x61], [0xff, 0xfe]))).toContain('element (number 1) that is not UTF-8');
  });

  it('lets a model that does not batch take empty tensors', () => {
    const fixed = doublingSpec({ maxBatchSize: 0 });
    expect(refusal(fixed, request([tensor('x', 'FP32', [0, 4], 0)]))).toBe('admitted');
  });
});

describe('sequence buckets', () => {
  const bucketed = doublingSpec({
    inputs: [
      { name: 'ids', datatype: 'INT64', shape: [-1, -1] },
      { name: 'pairs', datatype: 'BOOL', shape: [-1, -1, -1] },
      { name: 'other', datatype: 'INT8', shape: [-1, -1] },
    ],
    buckets: {
      lengths: [8, 64],
      inputs: [
        { tensor: 'ids', axis: 1, padValue: 0 },
        { tensor: 'pairs', axis: 1, padValue: 0 },
        { tensor: 'pairs', axis: 2, padValue: 0 },
      ],
      outputs: [],
    },
  });
  const ask = (length: number, other = 1, pairs = [length, length]) =>
    request([
      tensor('ids', 'INT64', [1, length], 8 * length),
      tensor('pairs', 'BOOL', [1, ...pairs], (pairs[0] ?? 0) * (pairs[1] ?? 0)),
      tensor('other', 'INT8', [1, other], other),
    ]);
  const key = (length: number, other = 1) => checkRequest(bucketed, ask(length, other)).shapeKey;

  it.each([
    [0, 8],
    [3, 8],
    [8, 8],
    [9, 64],
    [64, 64],
    [65, 65],
    [1000, 1000],
  ])('a length of %d is padded to %d', (length, paddedLength) => {
    expect(checkRequest(bucketed, ask(length)).padding).toEqual({ length, paddedLength });
  });

  it('the shape key has the padded length along sequence axes, and the exact one elsewhere', () => {
    expect(key(3)).toBe(key(8));
    expect(key(3)).not.toBe(key(9));
    expect(key(70)).not.toBe(key(71));
    expect(key(3, 1)).not.toBe(key(3, 2));
  });

  it('all sequence axes of a request have one length', () => {
    const sentence = (pairs: number[]) => refusal(bucketed, ask(3, 1, pairs));
    expect(sentence([4, 4])).toBe(
      "Inputs of model 'double' disagree on the length of the sequence: 'ids' has 3 along axis 1, 'pairs' has 4 along axis 1.",
    );
    expect(sentence([3, 5])).toContain("'ids' has 3 along axis 1, 'pairs' has 5 along axis 2.");
  });

  it('a model without buckets has no padding', () => {
    expect(checkRequest(spec, request([ids, mask])).padding).toBeUndefined();
  });
});

describe('timeoutMs', () => {
  it('reads microseconds; none and 0 mean no limit; nonsense is refused', () => {
    expect(timeoutMs({ timeout: 2500 })).toBe(2.5);
    expect(timeoutMs({ timeout: 2500n })).toBe(2.5);
    expect(timeoutMs({})).toBe(Number.POSITIVE_INFINITY);
    expect(timeoutMs({ timeout: 0 })).toBe(Number.POSITIVE_INFINITY);
    expect(() => timeoutMs({ timeout: '5s' })).toThrow('whole number of microseconds');
    expect(() => timeoutMs({ timeout: -1 })).toThrow('whole number of microseconds');
  });
});
