// Random tensors and messages, and the same messages through protobufjs: the oracle of the codec's tests.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { type Datatype, elementBytes } from '../../../core/datatype.js';
import type { Parameters, ParameterValue } from '../../../core/inference.js';
import type { Random } from '../../../core/random.js';
import { protoFile } from '../../../platform/package-root.js';

const protoText = readFileSync(protoFile('inference.proto'), 'utf8');
const unpackedText = protoText.replace(
  /(repeated (?:bool|int32|int64|uint32|uint64|float|double) \w+ = \d+);/g,
  '$1 [packed = false];',
);

// Before `resolveAll` protobufjs does not know that proto3 packs by default.
const rootOf = (text: string): protobuf.Namespace => protobuf.parse(text, { keepCase: true }).root.resolveAll();
const packed = rootOf(protoText);
const unpacked = rootOf(unpackedText);

export type MessageName =
  | 'ModelInferRequest'
  | 'ModelInferResponse'
  | 'ModelInferRequest.InferInputTensor'
  | 'InferTensorContents';

/** Serialises as protobufjs does; with `isPacked` false every repeated number gets a tag of its own. */
export function serialise(name: MessageName, message: object, isPacked = true): Buffer {
  const type = (isPacked ? packed : unpacked).lookupType(`inference.${name}`);
  return Buffer.from(type.encode(type.fromObject(message)).finish());
}

/** Parses as protobufjs does; 64-bit integers become decimal strings. */
export function parse(name: MessageName, bytes: Buffer): Record<string, unknown> {
  const type = packed.lookupType(`inference.${name}`);
  return type.toObject(type.decode(bytes), { longs: String, defaults: true, arrays: true, objects: true });
}

type Element = boolean | number | bigint | Uint8Array;

export interface SampleTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly elements: readonly Element[];
}

const elementOf: Readonly<Record<Datatype, fc.Arbitrary<Element>>> = {
  BOOL: fc.boolean(),
  INT8: fc.integer({ min: -128, max: 127 }),
  INT16: fc.integer({ min: -32768, max: 32767 }),
  INT32: fc.integer(),
  INT64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  UINT8: fc.integer({ min: 0, max: 255 }),
  UINT16: fc.integer({ min: 0, max: 65535 }),
  UINT32: fc.integer({ min: 0, max: 4294967295 }),
  UINT64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  FP16: fc.integer({ min: 0, max: 65535 }),
  BF16: fc.integer({ min: 0, max: 65535 }),
  FP32: fc.float(),
  FP64: fc.double(),
  BYTES: fc.uint8Array({ maxLength: 20 }),
};

export const allDatatypes = Object.keys(elementBytes) as readonly Datatype[];
/** Those that InferTensorContents has a field for. */
export const typedDatatypes = allDatatypes.filter((datatype) => datatype !== 'FP16' && datatype !== 'BF16');

const nameArbitrary = fc.oneof(fc.string({ maxLength: 12 }), fc.string({ unit: 'grapheme', maxLength: 40 }));

export const tensorOf = (datatypes: readonly Datatype[]): fc.Arbitrary<SampleTensor> =>
  fc
    .record({
      name: nameArbitrary,
      datatype: fc.constantFrom(...datatypes),
      shape: fc.array(
        fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 5 }) }, fc.integer({ min: 0, max: 200 })),
        {
          maxLength: 3,
        },
      ),
    })
    .chain(({ name, datatype, shape }) => {
      const count = shape.reduce((product, dim) => product * dim, 1);
      const bounded = count > 300 ? [2] : shape;
      const length = bounded === shape ? count : 2;
      return fc
        .array(elementOf[datatype], { minLength: length, maxLength: length })
        .map((elements) => ({ name, datatype, shape: bounded, elements }));
    });

/** Raw little-endian bytes, one element at a time. FP16 and BF16 elements are given as bits. */
export function rawBytes({ datatype, elements }: SampleTensor): Buffer {
  return Buffer.concat(
    elements.map((element) => {
      const view = new DataView(new ArrayBuffer(8));
      if (element instanceof Uint8Array) {
        view.setUint32(0, element.length, true);
        return Buffer.concat([new Uint8Array(view.buffer, 0, 4), element]);
      }
      if (datatype === 'FP32') view.setFloat32(0, Number(element), true);
      else if (datatype === 'FP64') view.setFloat64(0, Number(element), true);
      else view.setBigUint64(0, BigInt.asUintN(64, BigInt(element)), true);
      return Buffer.from(view.buffer, 0, elementBytes[datatype]);
    }),
  );
}

const contentsField: Readonly<Partial<Record<Datatype, string>>> = {
  BOOL: 'bool_contents',
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  UINT8: 'uint_contents',
  UINT16: 'uint_contents',
  UINT32: 'uint_contents',
  UINT64: 'uint64_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
  BYTES: 'bytes_contents',
};

/** The tensor's elements `[from, to)` as an InferTensorContents. */
export function contentsOf({ datatype, elements }: SampleTensor, from = 0, to = elements.length): object {
  const field = contentsField[datatype];
  if (field === undefined) throw new Error(`${datatype} has no typed contents`);
  return { [field]: elements.slice(from, to).map((element) => (typeof element === 'bigint' ? `${element}` : element)) };
}

const parameterValue: fc.Arbitrary<ParameterValue> = fc.oneof(
  fc.boolean(),
  fc.string({ unit: 'grapheme', maxLength: 10 }),
  fc.maxSafeInteger(),
  fc.double().filter((value) => !Number.isSafeInteger(value)),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
);

export const parametersArbitrary: fc.Arbitrary<Parameters> = fc.dictionary(
  fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom('timeout', 'priority', '__proto__', 'constructor')),
  parameterValue,
  { maxKeys: 4, noNullPrototype: false },
);

/** A parameter as protobufjs takes it. */
export function parameterMessage(value: ParameterValue): object {
  if (typeof value === 'boolean') return { bool_param: value };
  if (typeof value === 'string') return { string_param: value };
  if (typeof value === 'number') return Number.isSafeInteger(value) ? { int64_param: value } : { double_param: value };
  return value >= 2n ** 63n ? { uint64_param: `${value}` } : { int64_param: `${value}` };
}

/** A parameter as protobufjs gives it. */
export function parameterParsed(message: Record<string, unknown>): ParameterValue {
  for (const field of ['int64_param', 'uint64_param']) {
    if (message[field] !== undefined) {
      const exact = BigInt(message[field] as string);
      return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact;
    }
  }
  return (message.bool_param ?? message.string_param ?? message.double_param) as ParameterValue;
}

/** `Object.fromEntries` keeps `__proto__` as a key, which assignment would not. */
export const mapValues = <From, To>(
  record: Readonly<Record<string, From>>,
  to: (value: From) => To,
): Record<string, To> => Object.fromEntries(Object.entries(record).map(([key, value]) => [key, to(value)]));

/** One field with its tag, as bytes. */
export function field(number: number, content: Uint8Array): Buffer {
  return Buffer.from(
    protobuf.Writer.create()
      .uint32(number * 8 + 2)
      .bytes(content)
      .finish(),
  );
}

/** A message taken apart into its fields, each with its tag. */
export function fieldsOf(message: Buffer): { readonly tag: number; readonly bytes: Buffer }[] {
  const reader = protobuf.Reader.create(message);
  const fields: { tag: number; bytes: Buffer }[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.uint32();
    reader.skipType(tag & 7);
    fields.push({ tag, bytes: Buffer.from(message.subarray(start, reader.pos)) });
  }
  return fields;
}

const unknownFields = [
  // Field 100: a varint, 64 bits, a string, 32 bits; field 200: a group holding a group and a string.
  'a00601',
  'a1060102030405060708',
  'a2060568656c6c6f',
  'a50601020304',
]
  .map((hex) => Buffer.from(hex, 'hex'))
  .concat(
    Buffer.from(
      protobuf.Writer.create()
        .uint32(200 * 8 + 3)
        .uint32(17 * 8 + 3)
        .uint32(3 * 8 + 2)
        .string('abc')
        .uint32(17 * 8 + 4)
        .uint32(200 * 8 + 4)
        .finish(),
    ),
  );

/** The same message with its fields in another order (those of one number keep theirs) and unknown ones between. */
export function scrambled(message: Buffer, random: Random): Buffer {
  const queues = new Map<number, Buffer[]>();
  for (const { tag, bytes } of fieldsOf(message)) queues.set(tag, [...(queues.get(tag) ?? []), bytes]);
  const out: Buffer[] = [];
  const pick = <T>(list: readonly T[]): T | undefined => list[random.int(list.length)];
  while (queues.size > 0) {
    const tag = pick([...queues.keys()]) ?? 0;
    const next = queues.get(tag)?.shift();
    if (next === undefined) queues.delete(tag);
    else out.push(next);
    if (random.next() < 0.3) out.push(pick(unknownFields) ?? Buffer.alloc(0));
  }
  return Buffer.concat(out);
}
