import { type Datatype, elementBytes } from '../../core/datatype.js';
import type { Random } from '../../core/random.js';
import type { TensorSpec } from '../../core/tensor.js';

/** A spec's shape with every free dimension filled: the first with `rows` when the model batches, the others with 1. */
export function trialShape(spec: TensorSpec, rows: number | undefined): number[] {
  return spec.shape.map((dim, axis) => (axis === 0 && rows !== undefined ? rows : dim < 0 ? 1 : dim));
}

/**
 * Raw bytes of `count` elements that most models accept: floats uniform in [0, 1) (half floats in [0.5, 1)),
 * integers and booleans 0 or 1 (they may be indices), empty strings.
 */
export function randomElements(datatype: Datatype, count: number, random: Random): Uint8Array<ArrayBuffer> {
  if (datatype === 'BYTES') return new Uint8Array(4 * count);
  const bytes = new Uint8Array(count * elementBytes[datatype]);
  const { buffer } = bytes;
  const fill = <T extends { [index: number]: number | bigint }>(array: T, make: () => T[number]): void => {
    for (let i = 0; i < count; i++) array[i] = make();
  };
  const bit = (): number => random.int(2);
  const bigBit = (): bigint => BigInt(random.int(2));
  switch (datatype) {
    case 'FP32':
      fill(new Float32Array(buffer), () => random.next());
      break;
    case 'FP64':
      fill(new Float64Array(buffer), () => random.next());
      break;
    case 'FP16':
      // Exponent of [0.5, 1) and ten random bits of mantissa.
      fill(new Uint16Array(buffer), () => 0x3800 | random.int(1024));
      break;
    case 'BF16':
      fill(new Uint16Array(buffer), () => 0x3f00 | random.int(128));
      break;
    case 'INT64':
    case 'UINT64':
      fill(new BigUint64Array(buffer), bigBit);
      break;
    case 'INT32':
    case 'UINT32':
      fill(new Uint32Array(buffer), bit);
      break;
    case 'INT16':
    case 'UINT16':
      fill(new Uint16Array(buffer), bit);
      break;
    case 'INT8':
    case 'UINT8':
    case 'BOOL':
      fill(bytes, bit);
      break;
  }
  return bytes;
}

/** `block`, over and over, until there are `byteLength` bytes. */
export function repeated(block: Uint8Array, byteLength: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(byteLength);
  if (block.length === 0) return bytes;
  bytes.set(block.subarray(0, Math.min(block.length, byteLength)));
  for (let have = block.length; have < byteLength; have *= 2) bytes.copyWithin(have, 0, have);
  return bytes;
}
