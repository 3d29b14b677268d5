import { describe, expect, test } from 'vitest';
import { compareAnswer } from '../../../bench/answers.js';
import type { Tensor } from '../../../core/tensor.js';
import { encodeInferResponse } from '../../../platform/oip/response.js';

const fp32 = (name: string, shape: readonly number[], ...values: number[]): Tensor => ({
  name,
  datatype: 'FP32',
  shape,
  data: new Uint8Array(Float32Array.from(values).buffer),
});

const receipt = {
  queueUs: 1,
  batchWaitUs: 0,
  inputUs: 1,
  executeUs: 1,
  outputUs: 1,
  batchRows: 1,
  paddedRows: 0,
  version: '1',
  worker: 'w',
  instance: 'i',
  attempt: 1,
};

const answer = (...outputs: Tensor[]): Buffer =>
  encodeInferResponse({
    model: 'm',
    version: '1',
    id: '',
    outputs: outputs.map(({ data, ...head }) => ({ ...head, parts: [data], byteLength: data.length })),
    receipt,
  });

const want = [fp32('y', [1, 2], 1, 100)];

test('equal and nearly equal answers pass', () => {
  expect(compareAnswer(answer(...want), want)).toBeUndefined();
  expect(compareAnswer(answer(fp32('y', [1, 2], 1.0001, 100.05)), want)).toBeUndefined();
});

describe('complains about', () => {
  test.each([
    ["another caller's numbers", answer(fp32('y', [1, 2], 1, 3)), /"y" has 3 as element 1, not 100/],
    ['not-a-number', answer(fp32('y', [1, 2], Number.NaN, 100)), /has NaN as element 0/],
    ['another shape', answer(fp32('y', [2, 1], 1, 100)), /\[2,1\], not FP32 \[1,2\]/],
    ['another name', answer(fp32('z', [1, 2], 1, 100)), /no output "y"/],
    ['more outputs', answer(...want, fp32('z', [1], 1)), /has 2 outputs, not 1/],
  ])('%s', (_what, body, words) => expect(compareAnswer(body, want)).toMatch(words));

  test('integers that differ at all', () => {
    const label = (value: number): Tensor => ({ name: 'l', datatype: 'UINT8', shape: [1], data: Uint8Array.of(value) });
    expect(compareAnswer(answer(label(3)), [label(3)])).toBeUndefined();
    expect(compareAnswer(answer(label(3)), [label(4)])).toMatch(/differs/);
  });
});
