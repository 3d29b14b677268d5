import { type Datatype, elementBytes, isDatatype } from '../../core/datatype.js';
import { shapeText, type Tensor } from '../../core/tensor.js';
import { maxRank, maxTensors } from './limits.js';
import { quoted, refuseSharedMemory, shapeFault } from './tensor-checks.js';
import { rawContents } from './typed-contents.js';
import type { WireReader } from './wire.js';
import { type ParameterMap, readParameter } from './wire-parameters.js';
import { delimitedBytes, textFieldBytes, varintBytes, type WireWriter } from './wire-writer.js';

// InferInputTensor and InferOutputTensor have the same fields: name 1, datatype 2, shape 3, parameters 4, contents 5.

/** A tensor whose bytes may still be to come, in `raw_input_contents` or `raw_output_contents`. */
export interface WireTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** `undefined`: the message had no `contents`. */
  data: Uint8Array | undefined;
}

const noBytes = Buffer.alloc(0);

/** Reads one tensor message. @throws INVALID_REQUEST, UNSUPPORTED (shared memory) naming the tensor */
export function readTensor(reader: WireReader): WireTensor {
  const outer = reader.enter();
  const shape: number[] = [];
  let name = '';
  let datatype = '';
  let spans: number[] | undefined;
  let parameters: ParameterMap | undefined;
  while (reader.at < reader.end) {
    const tag = reader.tag();
    if (tag === 0x0a) name = reader.name();
    else if (tag === 0x12) datatype = reader.name();
    else if (tag === 0x1a) readDims(reader, shape);
    else if (tag === 0x18) shape.push(readDim(reader, shape.length));
    else if (tag === 0x22) parameters = readParameter(reader, parameters);
    else if (tag === 0x2a) spans = addSpan(reader, spans);
    else reader.skip(tag, 5);
  }
  reader.leave(outer);
  const label = reader.subject === 'request' ? `Input ${quoted(name)}` : `Output ${quoted(name)}`;
  if (!isDatatype(datatype)) return refuseDatatype(reader, label, datatype);
  const fault = shapeFault(shape);
  if (fault !== undefined) reader.refuse(`${label} has shape ${shapeText(shape)}; expected ${fault}.`);
  if (parameters !== undefined && reader.subject === 'request') refuseSharedMemory(label, parameters);
  const data = spans === undefined ? undefined : rawContents(reader, spans, datatype, shape, label);
  return { name, datatype, shape, data };
}

function refuseDatatype(reader: WireReader, label: string, datatype: string): never {
  const known = Object.keys(elementBytes).join(', ');
  reader.refuse(`${label} has datatype ${quoted(datatype)}; expected one of ${known}.`);
}

function readDims(reader: WireReader, into: number[]): void {
  const outer = reader.enter();
  while (reader.at < reader.end) into.push(readDim(reader, into.length));
  reader.leave(outer);
}

function readDim(reader: WireReader, rank: number): number {
  if (rank === maxRank) reader.refuse(`A tensor of the ${reader.subject} has more than ${maxRank} dimensions.`);
  const { at } = reader;
  const byte = reader.bytes[at] ?? 0;
  if (byte < 0x80 && at < reader.end) {
    reader.at = at + 1;
    return byte;
  }
  // A dimension beyond 2^53 loses digits here, and is refused in any case.
  return Number(reader.int64());
}

function addSpan(reader: WireReader, spans: number[] | undefined): number[] {
  const length = reader.length();
  const start = reader.fixed(length);
  if (spans === undefined) return length === 0 ? [] : [start, reader.at];
  if (length > 0) {
    if (spans.length >= 2 * maxTensors)
      reader.refuse(`A tensor of the ${reader.subject} has its contents in more than ${maxTensors} pieces.`);
    spans.push(start, reader.at);
  }
  return spans;
}

/**
 * Gives every tensor its bytes from the raw contents, which either are all there or not at all.
 * @throws INVALID_REQUEST naming the tensor (INTERNAL for a response)
 */
export function attachRaw(reader: WireReader, tensors: readonly WireTensor[], raw: readonly Uint8Array[]): Tensor[] {
  const isRequest = reader.subject === 'request';
  const rawField = isRequest ? 'raw_input_contents' : 'raw_output_contents';
  const role = isRequest ? 'Input' : 'Output';
  if (raw.length > 0) {
    const typed = tensors.find((tensor) => tensor.data !== undefined);
    if (typed !== undefined) {
      reader.refuse(
        `${role} ${quoted(typed.name)} has contents although the ${reader.subject} has ${rawField}; expected one of the two.`,
      );
    }
    if (raw.length !== tensors.length) {
      const names = tensors.slice(0, 8).map((tensor) => quoted(tensor.name));
      if (tensors.length > names.length) names.push('…');
      const which = names.length === 0 ? '' : ` (${names.join(', ')})`;
      reader.refuse(
        `The ${reader.subject} has ${raw.length} ${rawField} for ${tensors.length} ${role.toLowerCase()}s${which}; expected one for each.`,
      );
    }
  }
  for (let i = 0; i < tensors.length; i++) {
    const tensor = tensors[i];
    if (tensor === undefined || tensor.data !== undefined) continue;
    tensor.data = raw[i] ?? (tensor.shape.includes(0) ? noBytes : undefined);
    if (tensor.data === undefined) {
      reader.refuse(`${role} ${quoted(tensor.name)} has no data: neither contents nor ${rawField}.`);
    }
  }
  return tensors as Tensor[];
}

interface TensorHead {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

function shapeBytes(shape: readonly number[]): number {
  let bytes = 0;
  for (const dim of shape) bytes += varintBytes(dim);
  return bytes;
}

/** Bytes of the tensor message, its raw contents not included. */
export function tensorHeadBytes(tensor: TensorHead): number {
  const shape = tensor.shape.length === 0 ? 0 : delimitedBytes(shapeBytes(tensor.shape));
  return textFieldBytes(tensor.name) + textFieldBytes(tensor.datatype) + shape;
}

export function writeTensorHead(writer: WireWriter, tag: number, tensor: TensorHead, headBytes: number): void {
  writer.byte(tag);
  writer.varint(headBytes);
  writer.textField(0x0a, tensor.name);
  writer.textField(0x12, tensor.datatype);
  if (tensor.shape.length > 0) {
    writer.byte(0x1a);
    writer.varint(shapeBytes(tensor.shape));
    for (const dim of tensor.shape) writer.varint(dim);
  }
}
