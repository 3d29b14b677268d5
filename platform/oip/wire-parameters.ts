import { invariant } from '../../core/errors.js';
import type { Parameters, ParameterValue } from '../../core/inference.js';
import { maxParameters } from './limits.js';
import { quoted } from './tensor-checks.js';
import type { WireReader } from './wire.js';
import { delimitedBytes, int64Bytes, textBytes, type WireWriter } from './wire-writer.js';

/** Parameters while they are being read. No prototype, so that a key such as `__proto__` is a key like others. */
export type ParameterMap = Record<string, ParameterValue>;

/**
 * Reads one entry of a `map<string, InferParameter>` into `into` (made on first use) and returns the map.
 * A key that comes twice keeps its last value.
 */
export function readParameter(reader: WireReader, into: ParameterMap | undefined): ParameterMap {
  const outer = reader.enter();
  let key = '';
  let value: ParameterValue | undefined;
  while (reader.at < reader.end) {
    const tag = reader.tag();
    if (tag === 0x0a) key = reader.name();
    else if (tag === 0x12) value = readChoice(reader, value);
    else reader.skip(tag, 2);
  }
  reader.leave(outer);
  if (value === undefined) reader.refuse(`Parameter ${quoted(key)} has no value of a known kind.`);
  if (++reader.parameters > maxParameters)
    reader.refuse(`The ${reader.subject} has more than ${maxParameters} parameters.`);
  const map = into ?? (Object.create(null) as ParameterMap);
  map[key] = value;
  return map;
}

/** Reads one InferParameter; its oneof keeps the choice that comes last, `before` when there is none. */
function readChoice(reader: WireReader, before: ParameterValue | undefined): ParameterValue | undefined {
  const outer = reader.enter();
  let value = before;
  while (reader.at < reader.end) {
    const tag = reader.tag();
    if (tag === 0x08) value = reader.bool();
    else if (tag === 0x10) value = reader.int64();
    else if (tag === 0x1a) value = reader.name();
    else if (tag === 0x21) value = reader.double();
    else if (tag === 0x28) value = reader.uint64();
    else reader.skip(tag, 5);
  }
  reader.leave(outer);
  return value;
}

const isInt64 = (value: bigint): boolean => BigInt.asIntN(64, value) === value;

/** Bytes of the InferParameter message of a value. */
function choiceBytes(value: ParameterValue): number {
  switch (typeof value) {
    case 'boolean':
      return 2;
    case 'string':
      return delimitedBytes(textBytes(value));
    case 'bigint':
      invariant(isInt64(value) || BigInt.asUintN(64, value) === value, 'an integer parameter fits 64 bits');
      return 1 + int64Bytes(value);
    case 'number':
      return Number.isSafeInteger(value) ? 1 + int64Bytes(value) : 9;
  }
}

const entryBytes = (key: string, choice: number): number => delimitedBytes(textBytes(key)) + delimitedBytes(choice);

/** Bytes of a map field (tag below 16) that holds these parameters. */
export function parametersBytes(parameters: Parameters): number {
  let total = 0;
  for (const key in parameters) {
    const value = parameters[key];
    if (value !== undefined) total += delimitedBytes(entryBytes(key, choiceBytes(value)));
  }
  return total;
}

/** Integers go as int64 (uint64 above its range), other numbers as double. */
export function writeParameters(writer: WireWriter, tag: number, parameters: Parameters): void {
  for (const key in parameters) {
    const value = parameters[key];
    if (value === undefined) continue;
    const choice = choiceBytes(value);
    writer.byte(tag);
    writer.varint(entryBytes(key, choice));
    writer.text(0x0a, key);
    writer.byte(0x12);
    writer.varint(choice);
    writeChoice(writer, value);
  }
}

function writeChoice(writer: WireWriter, value: ParameterValue): void {
  if (typeof value === 'boolean') {
    writer.byte(0x08);
    writer.byte(value ? 1 : 0);
  } else if (typeof value === 'string') writer.text(0x1a, value);
  else if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    writer.byte(0x21);
    writer.double(value);
  } else {
    writer.byte(typeof value === 'bigint' && !isInt64(value) ? 0x28 : 0x10);
    writer.int64(value);
  }
}
