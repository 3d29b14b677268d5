import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Datatype, elementBytes } from '../../../core/datatype.js';
import { cutAxis, elementOf, padAxis } from '../../../core/padding.js';
import { elementCount } from '../../../core/tensor.js';

type Fixed = Exclude<Datatype, 'BYTES'>;
const fixedTypes = Object.keys(elementBytes).filter((datatype): datatype is Fixed => datatype !== 'BYTES');

/** Element by element: which element of the old tensor lies at each index of the new one? */
function resized(data: Uint8Array, shape: readonly number[], axis: number, to: number, element: Uint8Array): number[] {
  const target = shape.map((dim, d) => (d === axis ? to : dim));
  const bytes: number[] = [];
  for (let flat = 0; flat < elementCount(target); flat++) {
    let rest = flat;
    const index = target.map(() => 0);
    for (let d = target.length - 1; d >= 0; d--) {
      index[d] = rest % (target[d] ?? 1);
      rest = Math.floor(rest / (target[d] ?? 1));
    }
    const isThere = (index[axis] ?? 0) < (shape[axis] ?? 0);
    const at = index.reduce((sum, i, d) => sum * (shape[d] ?? 0) + i, 0) * element.length;
    bytes.push(...(isThere ? data.subarray(at, at + element.length) : element));
  }
  return bytes;
}

const tensors = fc
  .record({
    datatype: fc.constantFrom(...fixedTypes),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 }),
    axisSeed: fc.nat(),
    more: fc.nat(5),
    padValue: fc.constantFrom(0, 1),
  })
  .chain(({ axisSeed, ...rest }) => {
    const bytes = elementCount(rest.shape) * elementBytes[rest.datatype];
    const data = fc.uint8Array({ minLength: bytes, maxLength: bytes });
    return fc.record({ data }).map((drawn) => ({ ...rest, ...drawn, axis: axisSeed % rest.shape.length }));
  });

test('padding and cutting an axis are what they are element by element, and undo each other', () => {
  fc.assert(
    fc.property(tensors, ({ datatype, shape, axis, more, padValue, data }) => {
      const element = elementOf(datatype, padValue) as Uint8Array;
      const length = shape[axis] ?? 0;
      const to = length + more;
      const padded = padAxis(data, shape, axis, to, element);
      expect([...padded]).toEqual(resized(data, shape, axis, to, element));
      const longer = shape.map((dim, d) => (d === axis ? to : dim));
      expect([...cutAxis(padded, longer, axis, length, datatype)]).toEqual([...data]);
      const shorter = Math.floor(length / 2);
      expect([...cutAxis(data, shape, axis, shorter, datatype)]).toEqual(resized(data, shape, axis, shorter, element));
    }),
    { numRuns: 1500 },
  );
});

test('one run along the axis is cut without a copy', () => {
  const data = Uint8Array.of(1, 2, 3, 4);
  expect(cutAxis(data, [1, 4], 1, 3, 'INT8').buffer).toBe(data.buffer);
});

describe('an element of padding', () => {
  test.each<[Datatype, number, number[]]>([
    ['BOOL', 1, [1]],
    ['INT8', -1, [255]],
    ['UINT8', 255, [255]],
    ['INT16', -2, [0xfe, 0xff]],
    ['UINT16', 65_535, [0xff, 0xff]],
    ['INT32', -(2 ** 31), [0, 0, 0, 0x80]],
    ['UINT32', 2 ** 32 - 1, [0xff, 0xff, 0xff, 0xff]],
    ['INT64', -1, [255, 255, 255, 255, 255, 255, 255, 255]],
    ['UINT64', 258, [2, 1, 0, 0, 0, 0, 0, 0]],
    ['FP16', -10_000, [0xe2, 0xf0]],
    ['BF16', 1, [0x80, 0x3f]],
    ['FP32', 0.1, [0xcd, 0xcc, 0xcc, 0x3d]],
    ['FP64', 1, [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]],
  ])('%s holds %d', (datatype, value, bytes) => {
    expect([...(elementOf(datatype, value) ?? [])]).toEqual(bytes);
  });

  test.each<[Datatype, number]>([
    ['BYTES', 0],
    ['BOOL', 2],
    ['INT8', 128],
    ['UINT8', -1],
    ['UINT16', 65_536],
    ['INT32', 2 ** 31],
    ['INT64', 2 ** 53],
    ['INT64', 0.5],
    ['FP16', 65_520],
    ['BF16', 3.4e38],
    ['FP32', 3.5e38],
    ['FP64', Number.POSITIVE_INFINITY],
    ['FP32', Number.NaN],
  ])('%s cannot hold %d', (datatype, value) => {
    expect(elementOf(datatype, value)).toBeUndefined();
  });
});
