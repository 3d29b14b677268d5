import { isUtf8 } from 'node:buffer';
import { type Datatype, elementBytes } from '../../core/datatype.js';
import { decodeBfloat16, decodeHalf, encodeBfloat16, encodeHalf } from '../../core/half-float.js';

/** How one element of a fixed-width datatype stands in JSON. */
interface ElementCodec {
  /** What a good value is, for an error. */
  readonly expected: string;
  /** Writes the value little-endian at `at`; false when it is not one of this datatype. */
  write(value: unknown, out: DataView, at: number): boolean;
  /** JSON text of the element at `at`. */
  text(data: DataView, at: number): string;
}

const little = true;

function integer(
  lowest: number,
  highest: number,
  set: (out: DataView, at: number, value: number) => void,
  get: (data: DataView, at: number) => number,
): ElementCodec {
  return {
    expected: `an integer from ${lowest} to ${highest}`,
    write(value, out, at) {
      if (!Number.isInteger(value)) return false;
      const number = value as number;
      if (number < lowest || number > highest) return false;
      set(out, at, number);
      return true;
    },
    text: (data, at) => String(get(data, at)),
  };
}

/** A JSON number is only trusted up to 2^53: beyond, `JSON.parse` has already rounded it. */
function integer64(lowest: bigint, highest: bigint, get: (data: DataView, at: number) => bigint): ElementCodec {
  return {
    expected: `an integer from ${lowest} to ${highest}, as a decimal string when beyond 2^53`,
    write(value, out, at) {
      const isExact = Number.isSafeInteger(value) || (typeof value === 'string' && /^-?\d{1,20}$/.test(value));
      if (!isExact) return false;
      const exact = BigInt(value as number | string);
      if (exact < lowest || exact > highest) return false;
      out.setBigUint64(at, BigInt.asUintN(64, exact), little);
      return true;
    },
    text: (data, at) => get(data, at).toString(),
  };
}

/** JSON has no NaN and no infinities: like proto3's JSON, they are the strings "NaN", "Infinity", "-Infinity". */
const nonFinite: ReadonlyMap<unknown, number> = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);

function floatText(value: number): string {
  if (!Number.isFinite(value)) return `"${value}"`;
  return Object.is(value, -0) ? '-0' : String(value);
}

function float(
  datatype: Datatype,
  set: (out: DataView, at: number, value: number) => void,
  get: (data: DataView, at: number) => number,
): ElementCodec {
  return {
    expected: `a number within the range of ${datatype}, or "NaN", "Infinity", "-Infinity"`,
    write(value, out, at) {
      const special = nonFinite.get(value);
      if (special !== undefined) {
        set(out, at, special);
        return true;
      }
      if (typeof value !== 'number' || !Number.isFinite(value)) return false;
      set(out, at, value);
      // A finite number that became infinite was out of range.
      return Number.isFinite(get(out, at));
    },
    text: (data, at) => floatText(get(data, at)),
  };
}

const codecs: Readonly<Record<Exclude<Datatype, 'BYTES'>, ElementCodec>> = {
  BOOL: {
    expected: 'true or false',
    write(value, out, at) {
      if (typeof value !== 'boolean') return false;
      out.setUint8(at, value ? 1 : 0);
      return true;
    },
    text: (data, at) => (data.getUint8(at) === 0 ? 'false' : 'true'),
  },
  INT8: integer(
    -128,
    127,
    (out, at, value) => out.setInt8(at, value),
    (data, at) => data.getInt8(at),
  ),
  UINT8: integer(
    0,
    255,
    (out, at, value) => out.setUint8(at, value),
    (data, at) => data.getUint8(at),
  ),
  INT16: integer(
    -32768,
    32767,
    (out, at, value) => out.setInt16(at, value, little),
    (data, at) => data.getInt16(at, little),
  ),
  UINT16: integer(
    0,
    65535,
    (out, at, value) => out.setUint16(at, value, little),
    (data, at) => data.getUint16(at, little),
  ),
  INT32: integer(
    -2147483648,
    2147483647,
    (out, at, value) => out.setInt32(at, value, little),
    (data, at) => data.getInt32(at, little),
  ),
  UINT32: integer(
    0,
    4294967295,
    (out, at, value) => out.setUint32(at, value, little),
    (data, at) => data.getUint32(at, little),
  ),
  INT64: integer64(-(2n ** 63n), 2n ** 63n - 1n, (data, at) => data.getBigInt64(at, little)),
  UINT64: integer64(0n, 2n ** 64n - 1n, (data, at) => data.getBigUint64(at, little)),
  FP16: float(
    'FP16',
    (out, at, value) => out.setUint16(at, encodeHalf(value), little),
    (data, at) => decodeHalf(data.getUint16(at, little)),
  ),
  BF16: float(
    'BF16',
    (out, at, value) => out.setUint16(at, encodeBfloat16(value), little),
    (data, at) => decodeBfloat16(data.getUint16(at, little)),
  ),
  FP32: float(
    'FP32',
    (out, at, value) => out.setFloat32(at, value, little),
    (data, at) => data.getFloat32(at, little),
  ),
  FP64: float(
    'FP64',
    (out, at, value) => out.setFloat64(at, value, little),
    (data, at) => data.getFloat64(at, little),
  ),
};

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Called for an element that is not of the datatype: which row, where in it, the value and what was expected. */
export type RefuseElement = (row: number, column: number, value: unknown, expected: string) => never;

/** Raw bytes of a tensor whose elements are the entries of `rows`, in order; `elements` is how many there are. */
export function packElements(
  datatype: Datatype,
  rows: readonly (readonly unknown[])[],
  elements: number,
  refuse: RefuseElement,
): Buffer {
  if (datatype === 'BYTES') return packStrings(rows, refuse);
  const codec = codecs[datatype];
  const width = elementBytes[datatype];
  const out = Buffer.allocUnsafe(elements * width);
  const view = viewOf(out);
  let at = 0;
  rows.forEach((values, row) => {
    values.forEach((value, column) => {
      if (!codec.write(value, view, at)) refuse(row, column, value, `${codec.expected} (${datatype})`);
      at += width;
    });
  });
  return out;
}

/** A JSON escape can spell half of a surrogate pair, which no UTF-8 can. */
const loneSurrogate = /\p{Cs}/u;

function packStrings(rows: readonly (readonly unknown[])[], refuse: RefuseElement): Buffer {
  const parts: Buffer[] = [];
  rows.forEach((values, row) => {
    values.forEach((value, column) => {
      if (typeof value !== 'string' || loneSurrogate.test(value)) {
        refuse(row, column, value, 'a string of valid Unicode (BYTES)');
      }
      const text = Buffer.from(value);
      const length = Buffer.allocUnsafe(4);
      length.writeUInt32LE(text.length);
      parts.push(length, text);
    });
  });
  return Buffer.concat(parts);
}

/**
 * JSON array of a tensor's elements, flat. INT64 and UINT64 have all their digits, also beyond 2^53.
 * `undefined` when a BYTES element is not UTF-8 (which JSON cannot carry) or runs past the end.
 */
export function elementsText(datatype: Datatype, data: Uint8Array): string | undefined {
  if (datatype === 'BYTES') return stringsText(data);
  const { text } = codecs[datatype];
  const view = viewOf(data);
  const width = elementBytes[datatype];
  let out = '[';
  for (let at = 0; at + width <= data.length; at += width) out += at === 0 ? text(view, at) : `,${text(view, at)}`;
  return `${out}]`;
}

function stringsText(data: Uint8Array): string | undefined {
  const view = viewOf(data);
  const texts: string[] = [];
  for (let at = 0; at < data.length; ) {
    if (at + 4 > data.length) return undefined;
    const length = view.getUint32(at, little);
    const bytes = Buffer.from(data.buffer, data.byteOffset + at + 4, Math.min(length, data.length - at - 4));
    if (bytes.length !== length || !isUtf8(bytes)) return undefined;
    texts.push(JSON.stringify(bytes.toString()));
    at += 4 + length;
  }
  return `[${texts.join(',')}]`;
}
