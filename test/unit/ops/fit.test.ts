import { describe, expect, test } from 'vitest';
import type { Datatype } from '../../../core/datatype.js';
import type { TensorSpec } from '../../../core/tensor.js';
import { decodeElements, type Element, encodeElements } from '../../../ops/tensor-files/elements.js';
import type { FileTensor, Image } from '../../../ops/tensor-files/file-tensor.js';
import { fitShape, fitTensor } from '../../../ops/tensor-files/fit.js';
import { type ImageOptions, imageTensor, resample } from '../../../ops/tensor-files/image-tensor.js';

const spec = (datatype: Datatype, ...shape: number[]): TensorSpec => ({ name: 'in', datatype, shape });

function typed(datatype: Datatype, elements: Element[], shape = [elements.length]): FileTensor {
  return {
    name: '',
    shape,
    content: { kind: 'bytes', datatype, data: encodeElements(datatype, elements, 'nearest', '') },
  };
}

describe('shapes', () => {
  test.each([
    [
      [28, 28],
      [1, 1, 28, 28],
      [1, 1, 28, 28],
    ],
    [[2048], [-1, 2048], [1, 2048]],
    [
      [3, 2048],
      [-1, 2048],
      [3, 2048],
    ],
    [[], [1], [1]],
    [[], [], []],
    [[28, 29], [1, 1, 28, 28], undefined],
    [[1, 28, 28], [28, 28], undefined],
    [[5], [4, 5], undefined],
  ])('%j for %j is %j', (held, wanted, sent) => {
    expect(fitShape(held, wanted)).toEqual(sent);
  });
});

describe('datatypes', () => {
  test('the same datatype is passed on without copying', () => {
    const file = typed('FP32', [1, 2]);
    const { tensor, notes } = fitTensor(file, spec('FP32', 2), 'x.npy');
    expect(file.content.kind === 'bytes' && tensor.data === file.content.data).toBe(true);
    expect(notes).toEqual([]);
  });

  test('a lossless change is made and told', () => {
    const { tensor, notes } = fitTensor(typed('UINT16', [1, 65_535]), spec('INT32', -1, 2), 'x.npy');
    expect(decodeElements('INT32', tensor.data)).toEqual([1, 65_535]);
    expect(tensor).toMatchObject({ name: 'in', datatype: 'INT32', shape: [1, 2] });
    expect(notes).toEqual(['shape [2] sent as [1,2]', 'UINT16 sent as INT32']);
  });

  test('a change of value is refused, a mismatch names both sides', () => {
    expect(() => fitTensor(typed('FP64', [0.1]), spec('FP32', 1), 'x.npy')).toThrow(
      /^x\.npy: element 0 is 0\.1, which FP32/,
    );
    expect(() => fitTensor(typed('FP32', [1, 2]), spec('FP32', 1, 3), 'x.npy')).toThrow(
      'x.npy has shape [2]; input in takes [1,3], where -1 is any size.',
    );
  });

  test('decimal values take on what is wanted', () => {
    const file: FileTensor = { name: '', shape: [2], content: { kind: 'values', elements: [0.1, 2] } };
    expect(decodeElements('FP32', fitTensor(file, spec('FP32', 2), 'x').tensor.data)).toEqual([Math.fround(0.1), 2]);
    expect(() => fitTensor(file, spec('INT64', 2), 'x')).toThrow('INT64');
  });
});

describe('images', () => {
  const plain = { scale: 1, invert: false };
  const colour: Image = { width: 2, height: 1, rgb: Uint8Array.of(255, 0, 0, 0, 0, 255) };
  const grey = (width: number, height: number, ...values: number[]): Image => ({
    width,
    height,
    rgb: Uint8Array.from(values.flatMap((value) => [value, value, value])),
  });
  function pixels(image: Image, wanted: TensorSpec, options: ImageOptions = plain) {
    const { tensor, notes } = imageTensor(image, wanted, options, 'x.png');
    return { shape: tensor.shape, values: tensor.content.kind === 'values' ? tensor.content.elements : [], notes };
  }

  test.each<[string, TensorSpec, number[], number[]]>([
    ['channels first', spec('FP32', -1, 3, 1, 2), [1, 3, 1, 2], [255, 0, 0, 0, 0, 255]],
    ['channels last', spec('UINT8', 1, 1, 2, 3), [1, 1, 2, 3], [255, 0, 0, 0, 0, 255]],
    ['free size', spec('FP32', -1, 3, -1, -1), [1, 3, 1, 2], [255, 0, 0, 0, 0, 255]],
    ['without batch', spec('FP32', 1, 2, 3), [1, 2, 3], [255, 0, 0, 0, 0, 255]],
    ['one channel', spec('UINT8', 1, 1, 1, 2), [1, 1, 1, 2], [76, 29]],
    ['flat', spec('UINT8', -1, 2), [1, 2], [76, 29]],
  ])('%s', (_, wanted, shape, values) => {
    expect(pixels(colour, wanted)).toMatchObject({ shape, values });
  });

  test('what was done is told', () => {
    expect(pixels(colour, spec('FP32', 1, 1, 1, 2), { scale: 1 / 255, invert: true }).notes).toEqual([
      'turned to shades of gray',
      'inverted',
      'values 0–255 sent as 0–1',
    ]);
    expect(pixels(grey(1, 1, 9), spec('FP32', 1, 1, 28, 28)).notes).toEqual(['resized from 1×1 to 28×28']);
  });

  test('floating-point inputs get 0 to 1 unless told otherwise, and exactly so', () => {
    const ramp = Array.from({ length: 256 }, (_, value) => value);
    const sent = pixels(grey(256, 1, ...ramp), spec('FP32', 1, 1, 1, 256), { scale: undefined, invert: false });
    expect(sent.values.map((value) => Math.fround(Number(value)))).toEqual(
      ramp.map((value) => Math.fround(value / 255)),
    );
    expect(sent.notes).toEqual(['values 0–255 sent as 0–1']);
    expect(pixels(grey(1, 1, 9), spec('UINT8', 1, 1, 1, 1), { scale: undefined, invert: false }).values).toEqual([9]);
  });

  test('inverting comes before scaling', () => {
    expect(pixels(grey(2, 1, 0, 255), spec('FP32', 1, 1, 1, 2), { scale: 1 / 255, invert: true }).values).toEqual([
      1, 0,
    ]);
  });

  test('shrinking keeps the mean, enlarging stays within the values', () => {
    const noise = Float32Array.from({ length: 64 }, (_, i) => (i * 37) % 256);
    const mean = (plane: Float32Array): number => plane.reduce((sum, value) => sum + value, 0) / plane.length;
    expect(Math.abs(mean(resample(noise, 8, 8, 4, 4)) - mean(noise))).toBeLessThan(8);
    const flat = resample(new Float32Array(16).fill(7), 4, 4, 3, 9);
    for (const value of flat) expect(value).toBeCloseTo(7, 5);
    for (const value of resample(noise, 8, 8, 16, 16)) expect(value >= 0 && value <= 255).toBe(true);
  });

  test('an input that holds no image is refused', () => {
    expect(() => pixels(colour, spec('INT32', -1, 2048))).toThrow(
      'x.png is an image; input in takes INT32 [-1,2048], which holds none.',
    );
  });
});
