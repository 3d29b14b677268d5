import { type Datatype, elementBytes } from '../../core/datatype.js';
import { elementCount, shapeText } from '../../core/tensor.js';
import { type WireReader, WireType } from './wire.js';

// InferTensorContents: the same elements in protobuf's own numbers. What has a fixed width on the wire already
// lies there as OIP's raw bytes and is sliced; varints and byte strings are rewritten.

const fieldNames = [
  '',
  'bool_contents',
  'int_contents',
  'int64_contents',
  'uint_contents',
  'uint64_contents',
  'fp32_contents',
  'fp64_contents',
  'bytes_contents',
] as const;
const highestField = 8;

/** Field of InferTensorContents by datatype; 0: it has none. */
const fieldOf: Readonly<Record<Datatype, number>> = {
  BOOL: 1,
  INT8: 2,
  INT16: 2,
  INT32: 2,
  INT64: 3,
  UINT8: 4,
  UINT16: 4,
  UINT32: 4,
  UINT64: 5,
  FP32: 6,
  FP64: 7,
  BYTES: 8,
  FP16: 0,
  BF16: 0,
};

/** Where the occurrences of one `contents` field lie: start, end, start, end, … They are one message, in pieces. */
export type Spans = readonly number[];

/**
 * Raw bytes of a tensor that came as typed contents. A slice of the message where one packed run of fixed-width
 * numbers holds it all, else a new buffer of exactly the needed size.
 * @param label how to name the tensor in an error, such as "Input 'x'"
 * @throws INVALID_REQUEST (INTERNAL for a response): contents of another kind than the datatype's, a number out
 * of its range, another number of elements than the shape has
 */
export function rawContents(
  reader: WireReader,
  spans: Spans,
  datatype: Datatype,
  shape: readonly number[],
  label: string,
): Uint8Array {
  const elements = elementCount(shape);
  const field = fieldOf[datatype];
  const measured = measure(reader, spans, field, datatype, label);
  if (field === 0 && elements > 0) refuseKind(reader, 0, 0, datatype, label);
  if (measured.elements !== elements) {
    reader.refuse(
      `${label} has shape ${shapeText(shape)}, ${elements} elements, but its contents hold ${measured.elements}.`,
    );
  }
  if (elements === 0) return reader.bytes.subarray(0, 0);
  if (measured.onlyRun >= 0) return reader.bytes.subarray(measured.onlyRun, measured.onlyRun + measured.wireBytes);
  const width = elementBytes[datatype];
  const out = Buffer.allocUnsafe(datatype === 'BYTES' ? measured.wireBytes + 4 * elements : elements * width);
  gather(reader, spans, field, datatype, out, label);
  return out;
}

interface Measured {
  elements: number;
  /** Bytes of the elements themselves, without tags and lengths. */
  wireBytes: number;
  /** Offset of the single packed run of fixed-width elements that is the whole tensor; -1 when it is not so. */
  onlyRun: number;
}

/** First pass: checks the wire format and the kind, and counts, so that the second can allocate exactly. */
function measure(reader: WireReader, spans: Spans, field: number, datatype: Datatype, label: string): Measured {
  const native = wireTypeOf(field);
  const fixedWidth = native === WireType.VARINT || native === WireType.LENGTH ? 0 : elementBytes[datatype];
  const measured: Measured = { elements: 0, wireBytes: 0, onlyRun: -1 };
  let runs = 0;
  const add = (elements: number, start: number, wireBytes: number): void => {
    measured.elements += elements;
    measured.wireBytes += wireBytes;
    measured.onlyRun = fixedWidth > 0 && runs === 0 ? start : -1;
    runs++;
  };
  eachField(reader, spans, (number, wire, start, end) => {
    if (number !== field) {
      if (end > start || number === 8) refuseKind(reader, number, field, datatype, label);
    } else if (native === WireType.LENGTH || wire === native) add(1, start, end - start);
    else if (end > start) add(elementsInRun(reader, start, end, fixedWidth), start, end - start);
  });
  return measured;
}

function elementsInRun(reader: WireReader, start: number, end: number, fixedWidth: number): number {
  if (fixedWidth === 0) {
    if ((reader.bytes[end - 1] ?? 0) >= 0x80) reader.malformed('a varint that does not end', end - 1);
    let elements = 0;
    for (let at = start; at < end; at++) if ((reader.bytes[at] ?? 0) < 0x80) elements++;
    return elements;
  }
  if ((end - start) % fixedWidth !== 0) {
    reader.malformed(`${end - start} bytes of packed ${fixedWidth}-byte numbers`, start);
  }
  return (end - start) / fixedWidth;
}

function refuseKind(reader: WireReader, got: number, expected: number, datatype: Datatype, label: string): never {
  reader.refuse(
    expected === 0
      ? `${label} is ${datatype}, which has no typed contents; send it in raw_${reader.subject === 'request' ? 'input' : 'output'}_contents.`
      : `${label} is ${datatype}, whose elements belong in ${fieldNames[expected]}, but they are in ${fieldNames[got]}.`,
  );
}

/** Wire type of a single element of a field. */
function wireTypeOf(field: number): number {
  if (field <= 5) return WireType.VARINT;
  if (field === 6) return WireType.FIXED32;
  return field === 7 ? WireType.FIXED64 : WireType.LENGTH;
}

/** Calls `visit` with the value's bytes of every known field, in order: `[start, end)` without tag and length. */
function eachField(
  reader: WireReader,
  spans: Spans,
  visit: (field: number, wireType: number, start: number, end: number) => void,
): void {
  const { at: resumeAt, end: resumeEnd } = reader;
  for (let i = 0; i < spans.length; i += 2) {
    reader.at = spans[i] ?? 0;
    reader.end = spans[i + 1] ?? 0;
    while (reader.at < reader.end) {
      const tag = reader.tag();
      const field = tag >>> 3;
      const wire = tag & 7;
      if (field > highestField) {
        reader.skip(tag, highestField);
      } else if (wire === WireType.LENGTH) {
        const length = reader.length();
        const start = reader.fixed(length);
        visit(field, wire, start, start + length);
      } else if (wire !== wireTypeOf(field)) {
        reader.skip(tag, highestField);
      } else {
        const start = reader.at;
        if (wire === WireType.VARINT) reader.varint();
        else reader.fixed(wire === WireType.FIXED32 ? 4 : 8);
        visit(field, wire, start, reader.at);
      }
    }
  }
  reader.at = resumeAt;
  reader.end = resumeEnd;
}

/** Second pass: writes the elements into `out`. */
function gather(reader: WireReader, spans: Spans, field: number, datatype: Datatype, out: Buffer, label: string): void {
  let to = 0;
  eachField(reader, spans, (number, _wire, start, end) => {
    if (number !== field) return;
    if (field >= 6) {
      if (field === 8) to = out.writeUInt32LE(end - start, to);
      to += reader.bytes.copy(out, to, start, end);
    } else to = writeVarints(reader, start, end, datatype, out, to, label);
  });
}

/** Rewrites the varints of `[start, end)` as little-endian elements from `out[to]` on; returns where it stopped. */
function writeVarints(
  reader: WireReader,
  start: number,
  end: number,
  datatype: Datatype,
  out: Buffer,
  to: number,
  label: string,
): number {
  const { at: resumeAt, end: resumeEnd } = reader;
  reader.at = start;
  reader.end = end;
  const width = elementBytes[datatype];
  let at = to;
  while (reader.at < end) {
    reader.varint();
    const { low, high } = reader;
    if (width === 8) {
      out.writeInt32LE(low, at);
      out.writeInt32LE(high | 0, at + 4);
    } else if (datatype === 'BOOL') {
      out[at] = (low | high) === 0 ? 0 : 1;
    } else if (width === 4) {
      out.writeInt32LE(low, at);
    } else {
      const value = field32(datatype, low);
      if (value < lowest(datatype) || value > highest(datatype)) {
        reader.refuse(
          `${label} is ${datatype}, but element ${at / width} of its contents is ${value}; expected ${lowest(datatype)} to ${highest(datatype)}.`,
        );
      }
      if (width === 2) {
        out[at] = value;
        out[at + 1] = value >> 8;
      } else out[at] = value;
    }
    at += width;
  }
  reader.at = resumeAt;
  reader.end = resumeEnd;
  return at;
}

const isSigned = (datatype: Datatype): boolean => datatype === 'INT8' || datatype === 'INT16';

/** An int32 or uint32 field's value: the low half of the varint, as protobuf truncates it. */
const field32 = (datatype: Datatype, low: number): number => (isSigned(datatype) ? low | 0 : low >>> 0);

const lowest = (datatype: Datatype): number => (isSigned(datatype) ? -(2 ** (8 * elementBytes[datatype] - 1)) : 0);

const highest = (datatype: Datatype): number => 2 ** (8 * elementBytes[datatype] - (isSigned(datatype) ? 1 : 0)) - 1;
