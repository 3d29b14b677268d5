import { describe, expect, test } from 'vitest';
import { type InputChoices, makeInputs, planInputs, randomBytes } from '../../../bench/inputs.js';
import { parseNpy } from '../../../bench/npy.js';
import { type Datatype, elementBytes } from '../../../core/datatype.js';
import { seededRandom } from '../../../core/random.js';
import { expectedBytes, skipBytesElements, type Tensor, type TensorSpec } from '../../../core/tensor.js';

const none: InputChoices = { rows: undefined, shapes: new Map(), files: new Map() };
const x: TensorSpec = { name: 'x', datatype: 'FP32', shape: [-1, 3] };
const image: TensorSpec = { name: 'image', datatype: 'FP32', shape: [-1, 3, -1, -1] };

const npy = (descr: string, shape: string, data: Uint8Array, order = 'False'): Uint8Array => {
  const header = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape}), }\n`;
  const head = Buffer.from(`\x93NUMPY\x01\x00..${header}`, 'latin1');
  head.writeUInt16LE(header.length, 8);
  return Buffer.concat([head, data]);
};
const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

describe('shapes', () => {
  test('one row unless told otherwise', () => {
    expect(planInputs([x], none)).toMatchObject({ rows: 1, batched: true, specs: [{ shape: [1, 3] }] });
    expect(planInputs([x], { ...none, rows: 8 })).toMatchObject({ rows: 8, specs: [{ shape: [8, 3] }] });
  });

  test('free dimensions are said with or without the batch axis', () => {
    const with4 = planInputs([image], { ...none, shapes: new Map([['image', [4, 3, 8, 9]]]) });
    expect(with4).toMatchObject({ rows: 4, specs: [{ shape: [4, 3, 8, 9] }] });
    const without = planInputs([image], { ...none, rows: 2, shapes: new Map([['image', [3, 8, 9]]]) });
    expect(without).toMatchObject({ rows: 2, specs: [{ shape: [2, 3, 8, 9] }] });
  });

  test('a model without a batch axis is sent whole', () => {
    const fixed: TensorSpec = { ...x, shape: [1, 3] };
    expect(planInputs([fixed], none)).toMatchObject({ rows: 1, batched: false, specs: [{ shape: [1, 3] }] });
    expect(() => planInputs([fixed], { ...none, rows: 2 })).toThrow(/--batch 2 needs a model/);
  });

  test.each([
    ['free dimensions left open', [image], none, /"image" has free dimensions/],
    ['an unknown input', [x], { ...none, shapes: new Map([['z', [3]]]) }, /no input "z"; it has x/],
    ['a fixed dimension changed', [x], { ...none, shapes: new Map([['x', [1, 4]]]) }, /\[-1,3\]; \[1,4\] does not fit/],
    ['another rank', [x], { ...none, shapes: new Map([['x', [1, 3, 1]]]) }, /does not fit/],
  ] as const)('%s is refused', (_what, specs, choices, words) => {
    expect(() => planInputs(specs, choices)).toThrow(words);
  });
});

describe('random contents', () => {
  test.each(Object.keys(elementBytes) as Datatype[])(
    '%s has as many bytes as it should, other ones for another seed',
    (datatype) => {
      const data = randomBytes(datatype, 50, seededRandom(1));
      if (datatype === 'BYTES') expect(skipBytesElements(data, 0, 50)).toBe(data.length);
      else expect(data.length).toBe(expectedBytes(datatype, [50]));
      expect(randomBytes(datatype, 50, seededRandom(1))).toEqual(data);
      expect(randomBytes(datatype, 50, seededRandom(2))).not.toEqual(data);
    },
  );

  test('floats lie in [-1, 1), integers in [0, 128)', () => {
    const singles = new Float32Array(randomBytes('FP32', 1000, seededRandom(3)).buffer);
    expect(Math.max(...singles)).toBeGreaterThan(0.9);
    expect(Math.min(...singles)).toBeLessThan(-0.9);
    expect(singles.every((value) => value >= -1 && value <= 1)).toBe(true);
    const longs = new BigInt64Array(randomBytes('INT64', 1000, seededRandom(3)).buffer);
    expect(longs.every((value) => value >= 0n && value < 128n)).toBe(true);
  });
});

describe('rows from files', () => {
  const file: Tensor = parseNpy('x', npy('<f4', '3, 3', floats(0, 0, 0, 1, 1, 1, 2, 2, 2)), 'three.npy');
  const first = (tensor: Tensor | undefined): number[] => {
    const copy = Uint8Array.from(tensor?.data ?? []);
    return [...new Float32Array(copy.buffer)].filter((_, i) => i % 3 === 0);
  };

  test('are used in turn and go round', () => {
    const plan = planInputs([x], { ...none, rows: 2, files: new Map([['x', file]]) });
    const seen = [0, 1, 2].map((i) => first(makeInputs(plan, i, seededRandom(1))[0]));
    expect(seen).toEqual([
      [0, 1],
      [2, 0],
      [1, 2],
    ]);
  });

  test('of another type or shape are refused by name', () => {
    const doubles = parseNpy('x', npy('<f8', '1,', new Uint8Array(8)), 'd.npy');
    expect(() => planInputs([x], { ...none, files: new Map([['x', doubles]]) })).toThrow(
      /"x" is FP32 and its file holds FP64/,
    );
    const narrow = parseNpy('x', npy('<f4', '1, 2', floats(1, 2)), 'n.npy');
    expect(() => planInputs([x], { ...none, files: new Map([['x', narrow]]) })).toThrow(/does not fit/);
  });

  test.each([
    ['no .npy file', new Uint8Array(20), /not a .npy file/],
    ['Fortran order', npy('<f4', '1, 1', floats(1), 'True'), /only C order/],
    ['an unknown type', npy('<c8', '1,', new Uint8Array(8)), /element type "<c8"/],
    ['too few bytes', npy('<f4', '2, 2', floats(1)), /holds 4 bytes of data, not 16/],
    ['a cut header', npy('<f4', '1,', floats(1)).subarray(0, 30), /cut off/],
  ])('%s is refused', (_what, bytes, words) => {
    expect(() => parseNpy('x', bytes, 'some.npy')).toThrow(words);
  });
});
