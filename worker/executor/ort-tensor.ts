import { TextDecoder } from 'node:util';
import { Tensor as OrtTensor } from 'onnxruntime-node';
import type { Datatype } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import { elementCount, shapeText } from '../../core/tensor.js';
import type { Placement } from './protocol.js';

/** The datatypes that ONNX Runtime's Node binding can carry, by its names for them. */
export const datatypeOfOrt = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  float32: 'FP32',
  float64: 'FP64',
  string: 'BYTES',
} as const satisfies Record<string, Datatype>;

type OrtType = keyof typeof datatypeOfOrt;

export const isOrtType = (type: string): type is OrtType => Object.hasOwn(datatypeOfOrt, type);

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** OIP's length-prefixed elements as strings. @throws INVALID_REQUEST when the bytes do not divide so, or are not UTF-8. */
export function decodeStrings(data: Uint8Array, count: number): string[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const strings: string[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const length = at + 4 <= data.length ? view.getUint32(at, true) : -1;
    if (length < 0 || at + 4 + length > data.length) {
      throw new ShoalError('INVALID_REQUEST', `A BYTES tensor ends in the midst of element ${i} of ${count}.`);
    }
    try {
      strings.push(utf8.decode(data.subarray(at + 4, at + 4 + length)));
    } catch (thrown) {
      throw new ShoalError(
        'INVALID_REQUEST',
        `Element ${i} of a BYTES tensor is not UTF-8, which is all that ONNX strings can hold.`,
        { cause: thrown },
      );
    }
    at += 4 + length;
  }
  if (at !== data.length) {
    throw new ShoalError(
      'INVALID_REQUEST',
      `A BYTES tensor has ${data.length - at} bytes after its ${count} elements.`,
    );
  }
  return strings;
}

export function encodeStrings(strings: readonly string[]): Uint8Array {
  let bytes = 0;
  for (const text of strings) bytes += 4 + Buffer.byteLength(text);
  const data = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const text of strings) {
    const length = data.write(text, at + 4);
    data.writeUInt32LE(length, at);
    at += 4 + length;
  }
  return data;
}

/**
 * An ONNX Runtime tensor over slab memory: nothing is copied but strings. `slab` must be an ordinary ArrayBuffer
 * (the binding refuses shared ones) and the placement aligned for its datatype.
 * @throws INVALID_REQUEST when shape and bytes disagree.
 */
export function tensorOver(slab: ArrayBuffer, placement: Placement): OrtTensor {
  const { datatype, shape, offset, byteLength } = placement;
  const count = elementCount(shape);
  const sized = <T>(elementBytes: number, make: () => T): T => {
    if (count * elementBytes === byteLength) return make();
    throw new ShoalError(
      'INVALID_REQUEST',
      `A ${datatype} tensor of shape ${shapeText(shape)} takes ${count * elementBytes} bytes; got ${byteLength}.`,
    );
  };
  switch (datatype) {
    case 'BOOL':
      return sized(1, () => new OrtTensor('bool', new Uint8Array(slab, offset, count), shape));
    case 'UINT8':
      return sized(1, () => new OrtTensor('uint8', new Uint8Array(slab, offset, count), shape));
    case 'INT8':
      return sized(1, () => new OrtTensor('int8', new Int8Array(slab, offset, count), shape));
    case 'UINT16':
      return sized(2, () => new OrtTensor('uint16', new Uint16Array(slab, offset, count), shape));
    case 'INT16':
      return sized(2, () => new OrtTensor('int16', new Int16Array(slab, offset, count), shape));
    case 'FP16':
      return sized(2, () => new OrtTensor('float16', new Uint16Array(slab, offset, count), shape));
    case 'UINT32':
      return sized(4, () => new OrtTensor('uint32', new Uint32Array(slab, offset, count), shape));
    case 'INT32':
      return sized(4, () => new OrtTensor('int32', new Int32Array(slab, offset, count), shape));
    case 'FP32':
      return sized(4, () => new OrtTensor('float32', new Float32Array(slab, offset, count), shape));
    case 'UINT64':
      return sized(8, () => new OrtTensor('uint64', new BigUint64Array(slab, offset, count), shape));
    case 'INT64':
      return sized(8, () => new OrtTensor('int64', new BigInt64Array(slab, offset, count), shape));
    case 'FP64':
      return sized(8, () => new OrtTensor('float64', new Float64Array(slab, offset, count), shape));
    case 'BYTES':
      return new OrtTensor('string', decodeStrings(new Uint8Array(slab, offset, byteLength), count), shape);
    case 'BF16':
      throw new ShoalError('INVALID_REQUEST', 'BF16 tensors are not supported by ONNX Runtime for Node.');
  }
}

/** The raw OIP bytes of a tensor that ONNX Runtime made; a view of its memory except for strings. */
export function bytesOf(tensor: OrtTensor): Uint8Array {
  const { data } = tensor;
  if (Array.isArray(data)) return encodeStrings(data as string[]);
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}
