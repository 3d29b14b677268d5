import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBfloat16, decodeHalf, encodeBfloat16, encodeHalf } from '../../../core/half-float.js';

const formats = [
  { name: 'FP16', encode: encodeHalf, decode: decodeHalf, infinity: 0x7c00 },
  { name: 'BF16', encode: encodeBfloat16, decode: decodeBfloat16, infinity: 0x7f80 },
];

describe.each(formats)('$name', ({ encode, decode, infinity }) => {
  it('every bit pattern comes back from its number', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = decode(bits);
      if (Number.isNaN(value)) expect(Number.isNaN(decode(encode(value)))).toBe(true);
      else if (encode(value) !== bits) expect(encode(value)).toBe(bits);
    }
  });

  it('a number between two neighbours goes to the nearer one, from the middle to the even one', () => {
    for (let bits = 0; bits < infinity - 1; bits++) {
      const [below, above] = [decode(bits), decode(bits + 1)];
      const middle = (below + above) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      if (encode(middle) !== even) expect([middle, encode(middle)]).toEqual([middle, even]);
      const nudge = (above - below) * 2 ** -20;
      if (encode(middle - nudge) !== bits) expect([middle - nudge, encode(middle - nudge)]).toEqual([bits]);
      if (encode(middle + nudge) !== bits + 1) expect([middle + nudge, encode(middle + nudge)]).toEqual([bits + 1]);
    }
  });

  it('the sign changes the sign bit only', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (value) => {
        expect(encode(-value)).toBe(encode(value) ^ 0x8000);
      }),
    );
  });

  it('what is too large is infinite', () => {
    expect(encode(Number.MAX_VALUE)).toBe(infinity);
    expect(encode(Number.NEGATIVE_INFINITY)).toBe(infinity | 0x8000);
  });
});

it('agrees with known values', () => {
  expect([1, -2, 65504, 65519, 65520, 2 ** -24, 2 ** -25, 0.1].map(encodeHalf)).toEqual([
    0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 1, 0, 0x2e66,
  ]);
  expect([1, -2, 3.140625, 0.1].map(encodeBfloat16)).toEqual([0x3f80, 0xc000, 0x4049, 0x3dcd]);
});
