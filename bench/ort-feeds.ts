import { Tensor as OrtTensor } from 'onnxruntime-node';
import { ShoalError } from '../core/errors.js';
import { elementCount, type Tensor } from '../core/tensor.js';

/** The same tensor for ONNX Runtime. @throws UNSUPPORTED for BF16, which its Node binding does not take. */
export function ortTensor(tensor: Tensor): OrtTensor {
  const { datatype, shape } = tensor;
  const dims = [...shape];
  const count = elementCount(shape);
  // A copy of its own starts at offset 0, as typed arrays of wide elements need.
  const { buffer } = Uint8Array.from(tensor.data);
  switch (datatype) {
    case 'BOOL':
      return new OrtTensor('bool', new Uint8Array(buffer), dims);
    case 'UINT8':
      return new OrtTensor('uint8', new Uint8Array(buffer), dims);
    case 'UINT16':
      return new OrtTensor('uint16', new Uint16Array(buffer), dims);
    case 'UINT32':
      return new OrtTensor('uint32', new Uint32Array(buffer), dims);
    case 'UINT64':
      return new OrtTensor('uint64', new BigUint64Array(buffer), dims);
    case 'INT8':
      return new OrtTensor('int8', new Int8Array(buffer), dims);
    case 'INT16':
      return new OrtTensor('int16', new Int16Array(buffer), dims);
    case 'INT32':
      return new OrtTensor('int32', new Int32Array(buffer), dims);
    case 'INT64':
      return new OrtTensor('int64', new BigInt64Array(buffer), dims);
    case 'FP16':
      return new OrtTensor('float16', new Uint16Array(buffer), dims);
    case 'FP32':
      return new OrtTensor('float32', new Float32Array(buffer), dims);
    case 'FP64':
      return new OrtTensor('float64', new Float64Array(buffer), dims);
    case 'BYTES':
      return new OrtTensor('string', bytesElements(tensor.data, count), dims);
    case 'BF16':
      throw new ShoalError('UNSUPPORTED', `ONNX Runtime for Node takes no BF16 tensor, such as "${tensor.name}".`);
  }
}

function bytesElements(data: Uint8Array, count: number): string[] {
  const buffer = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const elements: string[] = [];
  for (let i = 0, at = 0; i < count; i++) {
    const length = buffer.readUInt32LE(at);
    elements.push(buffer.toString('utf8', at + 4, at + 4 + length));
    at += 4 + length;
  }
  return elements;
}
