import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { type Datatype, elementBytes } from '../../core/datatype.js';
import { decodeHalf, encodeHalf } from '../../core/half-float.js';
import { elementCount, type Tensor } from '../../core/tensor.js';
import { packageRoot } from '../../platform/package-root.js';

/** A tensor as the recorded vectors have it: raw bytes in base64, or strings. */
export interface RecordedTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly raw_b64?: string;
  readonly strings?: readonly string[];
}

interface Vector {
  readonly inputs: readonly RecordedTensor[];
  readonly outputs: readonly RecordedTensor[];
}

const read = (...place: string[]): Buffer => readFileSync(path.join(packageRoot, ...place));

/** Three digits with the answers of onnx/models. */
export const mnistVectors = (
  JSON.parse(read('examples/expected/mnist/vectors.json').toString()) as {
    readonly vectors: readonly (Vector & { readonly atol: number })[];
  }
).vectors;

/** ONNX's own operator tests: 64 models with inputs and outputs. */
export const operatorVectors = (
  JSON.parse(read('test/fixtures/onnx-conformance/vectors.json').toString()) as {
    readonly vectors: readonly (Vector & { readonly model: string; readonly rtol: number; readonly atol: number })[];
  }
).vectors;

export const operatorModel = (name: string): string =>
  path.join(packageRoot, 'test/fixtures/onnx-conformance', `${name}.onnx`);

export interface MagikaVector {
  readonly what: string;
  /** INT32 [2048], little-endian. */
  readonly features: Uint8Array;
  readonly index: number;
  readonly label: string;
  readonly score: number;
}

export const magikaClasses = 214;

/** 197 files with the type and score that google/magika's reference gives for each. */
export function readMagikaVectors(): { readonly tolerance: number; readonly vectors: readonly MagikaVector[] } {
  const recorded = JSON.parse(gunzipSync(read('examples/expected/magika/vectors.json.gz')).toString()) as {
    readonly tolerance: number;
    readonly vectors: readonly (Omit<MagikaVector, 'features'> & { readonly bytes_b64: string })[];
  };
  const vectors = recorded.vectors.map(({ bytes_b64, ...vector }) => {
    const raw = Buffer.from(bytes_b64, 'base64');
    const features = Int32Array.from({ length: raw.length / 2 }, (_, i) => raw.readUInt16LE(2 * i));
    return { ...vector, features: new Uint8Array(features.buffer) };
  });
  return { tolerance: recorded.tolerance, vectors };
}

/** The OIP raw representation of strings. */
export function bytesOfStrings(strings: readonly string[]): Buffer {
  return Buffer.concat(
    strings.flatMap((text) => {
      const bytes = Buffer.from(text);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );
}

export function tensorOf({ name, datatype, shape, raw_b64, strings }: RecordedTensor): Tensor {
  const data = strings === undefined ? Buffer.from(raw_b64 ?? '', 'base64') : bytesOfStrings(strings);
  return { name, datatype, shape, data };
}

export type Element = number | bigint | boolean | string;

const readers: Readonly<Record<Exclude<Datatype, 'BYTES' | 'BF16'>, (view: DataView, at: number) => Element>> = {
  BOOL: (view, at) => view.getUint8(at) !== 0,
  UINT8: (view, at) => view.getUint8(at),
  UINT16: (view, at) => view.getUint16(at, true),
  UINT32: (view, at) => view.getUint32(at, true),
  UINT64: (view, at) => view.getBigUint64(at, true),
  INT8: (view, at) => view.getInt8(at),
  INT16: (view, at) => view.getInt16(at, true),
  INT32: (view, at) => view.getInt32(at, true),
  INT64: (view, at) => view.getBigInt64(at, true),
  FP16: (view, at) => decodeHalf(view.getUint16(at, true)),
  FP32: (view, at) => view.getFloat32(at, true),
  FP64: (view, at) => view.getFloat64(at, true),
};

/** The elements of a tensor as JavaScript has them. */
export function elementsOf({ datatype, data, shape }: Tensor): Element[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (datatype === 'BYTES') {
    let at = 0;
    return Array.from({ length: elementCount(shape) }, () => {
      const length = view.getUint32(at, true);
      at += 4 + length;
      return Buffer.from(data.subarray(at - length, at)).toString();
    });
  }
  if (datatype === 'BF16') throw new Error('no recorded vector is BF16');
  const width = elementBytes[datatype];
  return Array.from({ length: data.length / width }, (_, i) => readers[datatype](view, i * width));
}

const writers: Readonly<Record<keyof typeof readers, (view: DataView, at: number, value: Element) => void>> = {
  BOOL: (view, at, value) => view.setUint8(at, value ? 1 : 0),
  UINT8: (view, at, value) => view.setUint8(at, Number(value)),
  UINT16: (view, at, value) => view.setUint16(at, Number(value), true),
  UINT32: (view, at, value) => view.setUint32(at, Number(value), true),
  UINT64: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
  INT8: (view, at, value) => view.setInt8(at, Number(value)),
  INT16: (view, at, value) => view.setInt16(at, Number(value), true),
  INT32: (view, at, value) => view.setInt32(at, Number(value), true),
  INT64: (view, at, value) => view.setBigInt64(at, BigInt(value), true),
  FP16: (view, at, value) => view.setUint16(at, encodeHalf(Number(value)), true),
  FP32: (view, at, value) => view.setFloat32(at, Number(value), true),
  FP64: (view, at, value) => view.setFloat64(at, Number(value), true),
};

/** The inverse of `elementsOf`; numbers may also come as their text, as JSON has the large and the infinite ones. */
export function bytesOfElements(datatype: Datatype, elements: readonly Element[]): Uint8Array {
  if (datatype === 'BYTES') return bytesOfStrings(elements.map(String));
  if (datatype === 'BF16') throw new Error('no recorded vector is BF16');
  const width = elementBytes[datatype];
  const data = new Uint8Array(elements.length * width);
  const view = new DataView(data.buffer);
  for (const [i, element] of elements.entries()) writers[datatype](view, i * width, element);
  return data;
}

/** Fails unless both tensors have the same name, datatype and shape, and equal elements (floats: within tolerance). */
export function expectTensor(got: Tensor | undefined, want: Tensor, { atol = 0, rtol = 0 } = {}): void {
  const head = (tensor: Tensor | undefined) => [tensor?.name, tensor?.datatype, tensor?.shape];
  expect(head(got)).toEqual(head(want));
  if (got === undefined) return;
  const [found, expected] = [elementsOf(got), elementsOf(want)];
  expect(found.length).toBe(expected.length);
  const isNear = (a: Element | undefined, b: Element): boolean => {
    if (Object.is(a, b) || a === b) return true;
    if (!want.datatype.startsWith('FP') || typeof a !== 'number' || typeof b !== 'number') return false;
    return Math.abs(a - b) <= atol + rtol * Math.abs(b);
  };
  const wrong = expected.findIndex((value, i) => !isNear(found[i], value));
  if (wrong >= 0) expect.fail(`${want.name}[${wrong}] is ${found[wrong]} and should be ${expected[wrong]}`);
}
