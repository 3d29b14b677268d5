import { describe, expect, test } from 'vitest';
import type { Datatype } from '../../../core/datatype.js';
import { decodeElements, type Element, encodeElements } from '../../../ops/tensor-files/elements.js';

const text = (written: string): Uint8Array => Buffer.from(written);

describe('elements survive the way to bytes and back', () => {
  test.each<[Datatype, Element[]]>([
    ['BOOL', [true, false]],
    ['UINT8', [0, 255]],
    ['INT8', [-128, 127]],
    ['UINT16', [0, 65_535]],
    ['INT16', [-32_768, 32_767]],
    ['UINT32', [0, 4_294_967_295]],
    ['INT32', [-2_147_483_648, 2_147_483_647]],
    ['UINT64', [0n, 18_446_744_073_709_551_615n]],
    ['INT64', [-9_223_372_036_854_775_808n, 9_223_372_036_854_775_807n]],
    ['FP16', [0.5, -65_504, Number.NaN]],
    ['BF16', [0.5, -128, Number.POSITIVE_INFINITY]],
    ['FP32', [Math.fround(0.1), Number.NEGATIVE_INFINITY]],
    ['FP64', [0.1, Number.MAX_VALUE]],
  ])('%s', (datatype, elements) => {
    expect(decodeElements(datatype, encodeElements(datatype, elements, 'exact', 'x'))).toEqual(elements);
  });

  test('BYTES', () => {
    const bytes = encodeElements('BYTES', [text('né'), text('')], 'exact', 'x');
    expect([...bytes]).toEqual([3, 0, 0, 0, 0x6e, 0xc3, 0xa9, 0, 0, 0, 0]);
    expect(decodeElements('BYTES', bytes).map((element) => Buffer.from(element as Uint8Array).toString())).toEqual([
      'né',
      '',
    ]);
  });
});

describe('what would change its value is refused', () => {
  test.each<[Datatype, Element, string]>([
    ['UINT8', 256, 'x: element 1 is 256, which UINT8 cannot hold (its range is 0 to 255).'],
    ['INT32', 1.5, 'x: element 1 is 1.5, which INT32 cannot hold; expected whole numbers.'],
    ['INT32', Number.NaN, 'x: element 1 is NaN, which INT32 cannot hold; expected whole numbers.'],
    [
      'INT64',
      2n ** 63n,
      `x: element 1 is ${2n ** 63n}, which INT64 cannot hold (its range is ${-(2n ** 63n)} to ${2n ** 63n - 1n}).`,
    ],
    [
      'FP32',
      0.1,
      'x: element 1 is 0.1, which FP32 cannot hold exactly; convert the values to FP32 where they are made.',
    ],
    [
      'FP64',
      2n ** 53n + 1n,
      'x: element 1 is 9007199254740993, which FP64 cannot hold exactly; convert the values to FP64 where they are made.',
    ],
    ['BOOL', 2, 'x: element 1 is 2, which BOOL cannot hold (its range is 0 to 1).'],
    ['FP32', text('five'), 'x: element 1 is the text "five", which FP32 cannot hold.'],
    ['BYTES', 5, 'x: element 1 is 5, which BYTES cannot hold; expected text.'],
  ])('%s does not take %s', (datatype, element, sentence) => {
    const first: Element = datatype === 'BYTES' ? text('a') : 1;
    expect(() => encodeElements(datatype, [first, element], 'exact', 'x')).toThrow(
      expect.objectContaining({ code: 'BAD_FILE', message: sentence }),
    );
  });

  test('decimal text may be rounded, but not out of range', () => {
    expect(decodeElements('FP32', encodeElements('FP32', [0.1], 'nearest', 'x'))).toEqual([Math.fround(0.1)]);
    expect(() => encodeElements('INT8', [128], 'nearest', 'x')).toThrow('INT8');
  });
});
