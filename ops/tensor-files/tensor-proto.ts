import protobuf from 'protobufjs';
import type { Datatype } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import { elementCount, expectedBytes } from '../../core/tensor.js';
import { type Element, encodeElements } from './elements.js';
import type { FileTensor } from './file-tensor.js';

// onnx/onnx.proto, message TensorProto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): the fields that matter here.
const schema = protobuf
  .parse(`
  syntax = "proto2";
  message TensorProto {
    repeated int64 dims = 1;
    optional int32 data_type = 2;
    repeated float float_data = 4 [packed = true];
    repeated int32 int32_data = 5 [packed = true];
    repeated bytes string_data = 6;
    repeated int64 int64_data = 7 [packed = true];
    optional string name = 8;
    optional bytes raw_data = 9;
    repeated double double_data = 10 [packed = true];
    repeated uint64 uint64_data = 11 [packed = true];
    optional int32 data_location = 14;
  }
`)
  .root.lookupType('TensorProto');

type TypedField = 'floatData' | 'int32Data' | 'int64Data' | 'doubleData' | 'uint64Data';

/** TensorProto.DataType number → our datatype and the field that holds its elements when `raw_data` does not. */
const dataTypes: Readonly<Record<number, readonly [Datatype, TypedField | 'stringData']>> = {
  1: ['FP32', 'floatData'],
  2: ['UINT8', 'int32Data'],
  3: ['INT8', 'int32Data'],
  4: ['UINT16', 'int32Data'],
  5: ['INT16', 'int32Data'],
  6: ['INT32', 'int32Data'],
  7: ['INT64', 'int64Data'],
  8: ['BYTES', 'stringData'],
  9: ['BOOL', 'int32Data'],
  10: ['FP16', 'int32Data'],
  11: ['FP64', 'doubleData'],
  12: ['UINT32', 'uint64Data'],
  13: ['UINT64', 'uint64Data'],
  16: ['BF16', 'int32Data'],
};

interface Decoded {
  readonly dims: readonly protobuf.Long[];
  readonly dataType: number;
  readonly name: string;
  readonly rawData: Uint8Array;
  readonly dataLocation: number;
  readonly stringData: readonly Uint8Array[];
  readonly floatData: readonly number[];
  readonly int32Data: readonly number[];
  readonly doubleData: readonly number[];
  readonly int64Data: readonly protobuf.Long[];
  readonly uint64Data: readonly protobuf.Long[];
}

const bad = (label: string, what: string): ShoalError => new ShoalError('BAD_FILE', `${label} ${what}.`);

/**
 * Reads an ONNX TensorProto, as in the `input_0.pb` files of the ONNX model zoo.
 * @throws BAD_FILE naming what was found and what was expected.
 */
export function readTensorProto(bytes: Uint8Array, label: string): FileTensor {
  let message: Decoded;
  try {
    message = schema.decode(bytes) as unknown as Decoded;
  } catch (thrown) {
    throw new ShoalError('BAD_FILE', `${label} is not an ONNX TensorProto.`, { cause: thrown });
  }
  const known = dataTypes[message.dataType];
  if (known === undefined) {
    throw bad(label, `is not an ONNX TensorProto of a supported element type (data_type ${message.dataType})`);
  }
  if (message.dataLocation === 1) throw bad(label, 'keeps its data in another file; expected them inside');
  const [datatype, field] = known;
  const shape = message.dims.map(Number);
  const count = elementCount(shape);
  const data = message.rawData.length > 0 ? message.rawData : typedData(message, datatype, field, label);
  const wanted = expectedBytes(datatype, shape);
  const held = datatype === 'BYTES' ? message.stringData.length : data.length;
  if (held !== (wanted ?? count)) {
    const unit = datatype === 'BYTES' ? 'strings' : 'bytes';
    throw bad(
      label,
      `holds ${held} ${unit}; expected ${wanted ?? count} for shape [${shape.join(',')}] of ${datatype}`,
    );
  }
  return { name: message.name, shape, content: { kind: 'bytes', datatype, data } };
}

function typedData(message: Decoded, datatype: Datatype, field: TypedField | 'stringData', label: string): Uint8Array {
  // FP16 and BF16 are kept as their bit patterns.
  const written = datatype === 'FP16' || datatype === 'BF16' ? 'UINT16' : datatype;
  const elements: readonly Element[] =
    field === 'int64Data' || field === 'uint64Data'
      ? message[field].map((long) => BigInt(long.toString()))
      : message[field];
  return encodeElements(written, elements, 'nearest', label);
}
