import { type Datatype, elementBytes } from './datatype.js';

/** What a model says of one input or output. A dimension of -1 is free. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: Datatype;
  /** Whole shape, the batch axis included. */
  readonly shape: readonly number[];
}

/**
 * A named tensor whose bytes are little-endian, row-major. BYTES elements are each a little-endian
 * uint32 length and that many bytes, one after the other (the OIP raw representation).
 */
export interface Tensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** A tensor whose bytes lie in several places, in order. Concatenated, `parts` are what `data` is above. */
export interface ScatteredTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly parts: readonly Uint8Array[];
  readonly byteLength: number;
}

/** Number of elements; 1 for a scalar (empty shape). */
export function elementCount(shape: readonly number[]): number {
  let n = 1;
  for (const dim of shape) n *= dim;
  return n;
}

/** Bytes that a tensor of fixed-size elements takes; undefined for BYTES. */
export function expectedBytes(datatype: Datatype, shape: readonly number[]): number | undefined {
  return datatype === 'BYTES' ? undefined : elementCount(shape) * elementBytes[datatype];
}

export const shapeText = (shape: readonly number[]): string => `[${shape.join(',')}]`;

/**
 * Offset just past `count` BYTES elements that start at `offset`, or -1 when the data ends too early.
 */
export function skipBytesElements(data: Uint8Array, offset: number, count: number): number {
  let at = offset;
  for (let i = 0; i < count; i++) {
    if (at + 4 > data.length) return -1;
    const length =
      ((data[at] ?? 0) | ((data[at + 1] ?? 0) << 8) | ((data[at + 2] ?? 0) << 16)) + (data[at + 3] ?? 0) * 0x1000000;
    at += 4 + length;
    if (at > data.length) return -1;
  }
  return at;
}
