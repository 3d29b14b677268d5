// 16-bit floats as bit patterns: IEEE 754 binary16 (FP16) and bfloat16 (BF16), rounded to nearest, ties to even.

interface SmallFloat {
  readonly mantissaBits: number;
  readonly exponentBits: number;
}

const half: SmallFloat = { mantissaBits: 10, exponentBits: 5 };
const bfloat: SmallFloat = { mantissaBits: 7, exponentBits: 8 };

const scratch = new DataView(new ArrayBuffer(8));

/** floor(log2(x)) of a finite x > 0 that is not a subnormal double. */
function exponentOf(x: number): number {
  scratch.setFloat64(0, x);
  return ((scratch.getUint16(0) >>> 4) & 0x7ff) - 1023;
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Straight from the double, because going through a float first would round twice. A mantissa that rounds up
 * into the next power of two carries into the exponent field, which is just what the encoding needs.
 */
function encode({ mantissaBits, exponentBits }: SmallFloat, value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const infinity = ((1 << exponentBits) - 1) << mantissaBits;
  if (Number.isNaN(value)) return infinity | (1 << (mantissaBits - 1));
  const magnitude = Math.abs(value);
  const bias = (1 << (exponentBits - 1)) - 1;
  if (magnitude >= 2 ** (bias + 1)) return sign | infinity;
  const exponent = Math.max(exponentOf(magnitude), 1 - bias);
  const mantissa = roundHalfEven(magnitude / 2 ** (exponent - mantissaBits));
  return sign | (mantissa + ((exponent + bias - 1) << mantissaBits));
}

function decode({ mantissaBits, exponentBits }: SmallFloat, bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const bias = (1 << (exponentBits - 1)) - 1;
  const exponent = (bits >>> mantissaBits) & ((1 << exponentBits) - 1);
  const mantissa = bits & ((1 << mantissaBits) - 1);
  if (exponent === (1 << exponentBits) - 1) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * ((1 << mantissaBits) + mantissa) * 2 ** (exponent - bias - mantissaBits);
}

/** Bits of the FP16 nearest to a number; infinity beyond 65504 (from 65520 on). */
export const encodeHalf = (value: number): number => encode(half, value);

/** The number an FP16 bit pattern stands for, exactly. */
export const decodeHalf = (bits: number): number => decode(half, bits);

/** Bits of the BF16 nearest to a number; infinity beyond about 3.39e38. */
export const encodeBfloat16 = (value: number): number => encode(bfloat, value);

/** The number a BF16 bit pattern stands for, exactly. */
export const decodeBfloat16 = (bits: number): number => decode(bfloat, bits);
