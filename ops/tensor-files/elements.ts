import { type Datatype, elementBytes } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import { decodeBfloat16, decodeHalf, encodeBfloat16, encodeHalf } from '../../core/half-float.js';

/** One element as read from a file: 64-bit integers are bigint, BYTES elements are bytes. */
export type Element = number | bigint | boolean | Uint8Array;

interface Codec {
  read(view: DataView, at: number): Element;
  write(view: DataView, at: number, value: number | bigint): void;
  /** Integers: the least and the greatest; floats have none. */
  readonly range: readonly [bigint, bigint] | undefined;
}

const whole = (bits: number, signed: boolean): readonly [bigint, bigint] =>
  signed ? [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n] : [0n, 2n ** BigInt(bits) - 1n];

const codecs: Readonly<Record<Exclude<Datatype, 'BYTES'>, Codec>> = {
  BOOL: { read: (v, at) => v.getUint8(at) !== 0, write: (v, at, x) => v.setUint8(at, Number(x)), range: [0n, 1n] },
  UINT8: { read: (v, at) => v.getUint8(at), write: (v, at, x) => v.setUint8(at, Number(x)), range: whole(8, false) },
  INT8: { read: (v, at) => v.getInt8(at), write: (v, at, x) => v.setInt8(at, Number(x)), range: whole(8, true) },
  UINT16: {
    read: (v, at) => v.getUint16(at, true),
    write: (v, at, x) => v.setUint16(at, Number(x), true),
    range: whole(16, false),
  },
  INT16: {
    read: (v, at) => v.getInt16(at, true),
    write: (v, at, x) => v.setInt16(at, Number(x), true),
    range: whole(16, true),
  },
  UINT32: {
    read: (v, at) => v.getUint32(at, true),
    write: (v, at, x) => v.setUint32(at, Number(x), true),
    range: whole(32, false),
  },
  INT32: {
    read: (v, at) => v.getInt32(at, true),
    write: (v, at, x) => v.setInt32(at, Number(x), true),
    range: whole(32, true),
  },
  UINT64: {
    read: (v, at) => v.getBigUint64(at, true),
    write: (v, at, x) => v.setBigUint64(at, BigInt(x), true),
    range: whole(64, false),
  },
  INT64: {
    read: (v, at) => v.getBigInt64(at, true),
    write: (v, at, x) => v.setBigInt64(at, BigInt(x), true),
    range: whole(64, true),
  },
  FP16: {
    read: (v, at) => decodeHalf(v.getUint16(at, true)),
    write: (v, at, x) => v.setUint16(at, encodeHalf(Number(x)), true),
    range: undefined,
  },
  BF16: {
    read: (v, at) => decodeBfloat16(v.getUint16(at, true)),
    write: (v, at, x) => v.setUint16(at, encodeBfloat16(Number(x)), true),
    range: undefined,
  },
  FP32: {
    read: (v, at) => v.getFloat32(at, true),
    write: (v, at, x) => v.setFloat32(at, Number(x), true),
    range: undefined,
  },
  FP64: {
    read: (v, at) => v.getFloat64(at, true),
    write: (v, at, x) => v.setFloat64(at, Number(x), true),
    range: undefined,
  },
};

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength);

/** Reads little-endian elements. `data` must hold whole elements. */
export function decodeElements(datatype: Datatype, data: Uint8Array): Element[] {
  const view = viewOf(data);
  const elements: Element[] = [];
  if (datatype === 'BYTES') {
    for (let at = 0; at + 4 <= data.length; ) {
      const end = at + 4 + view.getUint32(at, true);
      elements.push(data.subarray(at + 4, end));
      at = end;
    }
    return elements;
  }
  const codec = codecs[datatype];
  for (let at = 0; at < data.length; at += elementBytes[datatype]) elements.push(codec.read(view, at));
  return elements;
}

const showElement = (element: Element): string =>
  element instanceof Uint8Array ? `the text "${Buffer.from(element).toString('utf8').slice(0, 40)}"` : String(element);

/**
 * Writes elements as little-endian bytes of a datatype.
 * @param rounding `exact` refuses a fraction that the datatype cannot hold; `nearest` rounds it (decimal text always needs that).
 * @param label names the source in messages.
 * @throws BAD_FILE for the first element that would change its meaning.
 */
export function encodeElements(
  datatype: Datatype,
  elements: readonly Element[],
  rounding: 'exact' | 'nearest',
  label: string,
): Uint8Array {
  const refuse = (index: number, advice: string): never => {
    const element = elements[index] ?? 0;
    throw new ShoalError(
      'BAD_FILE',
      `${label}: element ${index} is ${showElement(element)}, which ${datatype} cannot hold${advice}.`,
    );
  };
  if (datatype === 'BYTES') {
    const parts: Uint8Array[] = [];
    for (const [index, element] of elements.entries()) {
      if (!(element instanceof Uint8Array)) return refuse(index, '; expected text');
      const length = Buffer.alloc(4);
      length.writeUInt32LE(element.length);
      parts.push(length, element);
    }
    return Buffer.concat(parts);
  }
  const codec = codecs[datatype];
  const bytes = new Uint8Array(elements.length * elementBytes[datatype]);
  const view = viewOf(bytes);
  for (const [index, element] of elements.entries()) {
    const at = index * elementBytes[datatype];
    if (element instanceof Uint8Array) return refuse(index, '');
    const value = typeof element === 'boolean' ? Number(element) : element;
    if (codec.range !== undefined) {
      const isWhole = typeof value === 'bigint' || Number.isInteger(value);
      if (!isWhole) return refuse(index, '; expected whole numbers');
      const exact = BigInt(value);
      if (exact < codec.range[0] || exact > codec.range[1]) {
        return refuse(index, ` (its range is ${codec.range[0]} to ${codec.range[1]})`);
      }
      codec.write(view, at, value);
      continue;
    }
    codec.write(view, at, value);
    if (rounding === 'nearest') continue;
    const back = codec.read(view, at);
    const same =
      typeof value === 'bigint' ? BigInt(value) === exactBigint(back) : Object.is(back, value) || back === value;
    if (!same) return refuse(index, ` exactly; convert the values to ${datatype} where they are made`);
  }
  return bytes;
}

const exactBigint = (value: Element): bigint | undefined =>
  typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : undefined;
