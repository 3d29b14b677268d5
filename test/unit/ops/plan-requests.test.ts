import { describe, expect, test } from 'vitest';
import type { TensorSpec } from '../../../core/tensor.js';
import { planRequests, splitArgument } from '../../../ops/infer/plan-requests.js';
import { parseInputFile } from '../../../ops/tensor-files/read-file.js';

const plain = { scale: undefined, invert: false };
const a: TensorSpec = { name: 'a', datatype: 'FP32', shape: [-1, 2] };
const b: TensorSpec = { name: 'b', datatype: 'INT64', shape: [1] };

function piece(file: string, json: string, input = '') {
  return { argument: { input, file }, content: parseInputFile('x.json', Buffer.from(json)) };
}

const plan = (inputs: readonly TensorSpec[], ...pieces: ReturnType<typeof piece>[]) =>
  planRequests(inputs, pieces, plain).map(({ label, tensors, notes }) => ({
    label,
    tensors: tensors.map(({ name, shape }) => `${name} ${shape.join('×')}`),
    notes,
  }));

describe('arguments', () => {
  const none = () => false;
  test('a name before = counts when the model has such an input', () => {
    expect(splitArgument('a=x.npy', [a, b], none)).toEqual({ input: 'a', file: 'x.npy' });
    expect(splitArgument('a=b=x.npy', [a, b], none)).toEqual({ input: 'a', file: 'b=x.npy' });
    expect(splitArgument('x.npy', [a, b], none)).toEqual({ input: '', file: 'x.npy' });
    expect(splitArgument('run=3.npy', [a, b], (file) => file === 'run=3.npy')).toEqual({
      input: '',
      file: 'run=3.npy',
    });
  });

  test('a mistyped name is named with those there are', () => {
    const imageSpec: TensorSpec = { name: 'image', datatype: 'FP32', shape: [1] };
    expect(() => splitArgument('imgae=x.npy', [imageSpec], none)).toThrow(
      'The model has no input "imgae"; its inputs are image (FP32 [1]) (did you mean image?).',
    );
  });
});

describe('requests', () => {
  test('a model of one input gets one request a file', () => {
    expect(plan([a], piece('1', '[1, 2]'), piece('2', '[[1, 2], [3, 4]]'))).toEqual([
      { label: '1', tensors: ['a 1×2'], notes: ['shape [2] sent as [1,2]'] },
      { label: '2', tensors: ['a 2×2'], notes: [] },
    ]);
  });

  test('a model of several inputs gets one request, filled by name and then in order', () => {
    const expected = [{ label: '1 2', tensors: ['a 1×2', 'b 1'], notes: [] }];
    expect(plan([a, b], piece('1', '[[1, 2]]'), piece('2', '[5]'))).toEqual(expected);
    expect(plan([a, b], piece('1', '[5]', 'b'), piece('2', '[[1, 2]]'))).toEqual(expected);
    expect(plan([a, b], piece('1', '[5]', 'b'), piece('2', '{"name": "a", "data": [[1, 2]]}'))).toEqual(expected);
  });

  test('one JSON file may hold all inputs', () => {
    const json = '{"inputs": [{"name": "b", "data": [5]}, {"name": "a", "data": [1, 2]}]}';
    expect(plan([a, b], piece('r.json', json))).toEqual([
      { label: 'r.json', tensors: ['a 1×2', 'b 1'], notes: ['a: shape [2] sent as [1,2]'] },
    ]);
  });

  test('a model without inputs needs no file', () => {
    expect(plan([])).toEqual([{ label: 'no input', tensors: [], notes: [] }]);
    expect(() => plan([], piece('1', '[1]'))).toThrow('The model has no inputs; leave --input out.');
  });

  test.each<[string, () => unknown, string]>([
    ['none', () => plan([a]), "No --input was given; the model's inputs are a (FP32 [-1,2])."],
    [
      'too few',
      () => plan([a, b], piece('1', '[[1, 2]]')),
      'Nothing was given for b (INT64 [1]); add --input NAME=FILE for each.',
    ],
    [
      'too many',
      () => plan([a, b], piece('1', '[1,2]'), piece('2', '[1]'), piece('3', '[1]')),
      "3 is one file too many; the model's inputs are a (FP32 [-1,2]), b (INT64 [1]).",
    ],
    [
      'the same twice',
      () => plan([a, b], piece('1', '[1]', 'b'), piece('2', '[1]', 'b')),
      'Input b is given twice, the second time by 2.',
    ],
    [
      'several tensors for one input',
      () => plan([a], piece('r', '{"inputs": [{"name": "a", "data": [1]}, {"name": "b", "data": [1]}]}')),
      'r holds 2 tensors; the model has one input, a (FP32 [-1,2]).',
    ],
    [
      'an unknown name',
      () => plan([a, b], piece('r', '{"inputs": [{"name": "a", "data": [1]}, {"name": "c", "data": [1]}]}')),
      'r: the model has no input "c"; its inputs are a (FP32 [-1,2]), b (INT64 [1]).',
    ],
  ])('%s is refused', (_, act, sentence) => {
    expect(act).toThrow(expect.objectContaining({ code: 'BAD_FILE', message: sentence }));
  });
});
