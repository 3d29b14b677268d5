import { type Datatype, elementBytes } from './datatype.js';
import { decodeBfloat16, decodeHalf, encodeBfloat16, encodeHalf } from './half-float.js';

// Tensors here are raw, little-endian and row-major, of elements of a fixed size: everything but BYTES.

const integerRanges: Partial<Record<Datatype, readonly [least: number, most: number]>> = {
  BOOL: [0, 1],
  UINT8: [0, 2 ** 8 - 1],
  UINT16: [0, 2 ** 16 - 1],
  UINT32: [0, 2 ** 32 - 1],
  UINT64: [0, Number.MAX_SAFE_INTEGER],
  INT8: [-(2 ** 7), 2 ** 7 - 1],
  INT16: [-(2 ** 15), 2 ** 15 - 1],
  INT32: [-(2 ** 31), 2 ** 31 - 1],
  INT64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
};

/**
 * The bytes of one element that holds `value`; a float is rounded to the nearest. Undefined when the datatype cannot
 * hold it: BYTES, an integer out of range (or beyond what a number holds exactly), a float that becomes infinite.
 */
export function elementOf(datatype: Datatype, value: number): Uint8Array | undefined {
  const range = integerRanges[datatype];
  if (range !== undefined && !(Number.isInteger(value) && value >= range[0] && value <= range[1])) return undefined;
  const bytes = new Uint8Array(elementBytes[datatype]);
  const view = new DataView(bytes.buffer);
  switch (datatype) {
    case 'BYTES':
      return undefined;
    case 'BOOL':
    case 'UINT8':
    case 'INT8':
      view.setInt8(0, value);
      return bytes;
    case 'UINT16':
    case 'INT16':
      view.setInt16(0, value, true);
      return bytes;
    case 'UINT32':
    case 'INT32':
      view.setInt32(0, value, true);
      return bytes;
    case 'UINT64':
    case 'INT64':
      view.setBigInt64(0, BigInt(value), true);
      return bytes;
    case 'FP16':
      view.setUint16(0, encodeHalf(value), true);
      return Number.isFinite(decodeHalf(view.getUint16(0, true))) ? bytes : undefined;
    case 'BF16':
      view.setUint16(0, encodeBfloat16(value), true);
      return Number.isFinite(decodeBfloat16(view.getUint16(0, true))) ? bytes : undefined;
    case 'FP32':
      view.setFloat32(0, value, true);
      return Number.isFinite(view.getFloat32(0, true)) ? bytes : undefined;
    case 'FP64':
      view.setFloat64(0, value, true);
      return Number.isFinite(value) ? bytes : undefined;
  }
}

/** How a tensor lies around one of its axes: `outer` times `length` runs of `runBytes`. */
function around(shape: readonly number[], axis: number, width: number) {
  let outer = 1;
  for (let d = 0; d < axis; d++) outer *= shape[d] ?? 0;
  let runBytes = width;
  for (let d = axis + 1; d < shape.length; d++) runBytes *= shape[d] ?? 0;
  return { outer, lengthBytes: (shape[axis] ?? 0) * runBytes, runBytes };
}

/**
 * The tensor with `axis` made `to` long, `to` being at least its length: every element that is new is `element`.
 * Always a copy.
 */
export function padAxis(
  data: Uint8Array,
  shape: readonly number[],
  axis: number,
  to: number,
  element: Uint8Array,
): Uint8Array {
  const { outer, lengthBytes, runBytes } = around(shape, axis, element.length);
  const toBytes = to * runBytes;
  const isZero = element.every((byte) => byte === 0);
  const padded = isZero ? Buffer.alloc(outer * toBytes) : Buffer.allocUnsafe(outer * toBytes);
  for (let i = 0; i < outer; i++) {
    const at = i * toBytes;
    padded.set(data.subarray(i * lengthBytes, (i + 1) * lengthBytes), at);
    if (!isZero && lengthBytes < toBytes) padded.fill(element, at + lengthBytes, at + toBytes);
  }
  return padded;
}

/** The tensor with `axis` cut to its first `to` entries; a slice of `data` where that can be, else a copy. */
export function cutAxis(
  data: Uint8Array,
  shape: readonly number[],
  axis: number,
  to: number,
  datatype: Exclude<Datatype, 'BYTES'>,
): Uint8Array {
  const { outer, lengthBytes, runBytes } = around(shape, axis, elementBytes[datatype]);
  const toBytes = to * runBytes;
  if (outer === 1) return data.subarray(0, toBytes);
  const cut = Buffer.allocUnsafe(outer * toBytes);
  for (let i = 0; i < outer; i++) cut.set(data.subarray(i * lengthBytes, i * lengthBytes + toBytes), i * toBytes);
  return cut;
}
