import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/*
 * Just enough of protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) to write ONNX models
 * (field numbers from onnx.proto), with weights streamed to the file rather than held in memory.
 */

/** ONNX TensorProto.DataType. */
export const onnxType = { FP32: 1, INT64: 7, STRING: 8, BOOL: 9 } as const;
export type OnnxType = keyof typeof onnxType;

/** An attribute of a node: an integer, integers, or a graph. */
export type OnnxAttribute = number | readonly number[] | OnnxGraph;

export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
}

/** An input or output. A dimension given by name is free. */
export interface OnnxValue {
  readonly name: string;
  readonly type: OnnxType;
  readonly shape: readonly (number | string)[];
}

/** A constant. `fill` writes consecutive elements: it is called in order, each time for the next part of them. */
export interface OnnxWeights {
  readonly name: string;
  readonly type: 'FP32' | 'INT64' | 'BOOL';
  readonly shape: readonly number[];
  readonly fill: (part: Buffer) => void;
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly weights: readonly OnnxWeights[];
}

/** Any before 18, from which on ReduceMean takes its axes as an input. */
const opsetVersion = 13;
const irVersion = 8;
const elementBytes = { FP32: 4, INT64: 8, BOOL: 1 } as const;
/** Weights are filled and written this much at a time; a multiple of every element size. */
const partBytes = 1 << 20;

/** Bytes that are there, or that will be made when they are written. */
type Piece = Buffer | { readonly byteLength: number; readonly fill: (part: Buffer) => void };

function varint(value: number): Buffer {
  const bytes: number[] = [];
  // A negative int64 is its two's complement, ten bytes long.
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const sizeOf = (pieces: readonly Piece[]): number => pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
const integer = (field: number, value: number): Piece[] => [varint(field * 8), varint(value)];
const nested = (field: number, pieces: readonly Piece[]): Piece[] => [
  varint(field * 8 + 2),
  varint(sizeOf(pieces)),
  ...pieces,
];
const text = (field: number, value: string): Piece[] => nested(field, [Buffer.from(value)]);

function valueInfo(field: number, value: OnnxValue): Piece[] {
  const dims = value.shape.flatMap((dim) => nested(1, typeof dim === 'string' ? text(2, dim) : integer(1, dim)));
  const tensorType = [...integer(1, onnxType[value.type]), ...nested(2, dims)];
  return nested(field, [...text(1, value.name), ...nested(2, nested(1, tensorType))]);
}

function attribute(name: string, value: OnnxAttribute): Piece[] {
  const head = text(1, name);
  if (typeof value === 'number') return nested(5, [...head, ...integer(3, value), ...integer(20, 2)]);
  if ('nodes' in value) return nested(5, [...head, ...nested(6, graphPieces(value, name)), ...integer(20, 5)]);
  return nested(5, [...head, ...value.flatMap((one) => integer(8, one)), ...integer(20, 7)]);
}

function nodePieces(node: OnnxNode): Piece[] {
  return nested(1, [
    ...node.inputs.flatMap((name) => text(1, name)),
    ...node.outputs.flatMap((name) => text(2, name)),
    ...text(4, node.op),
    ...Object.entries(node.attributes ?? {}).flatMap(([name, value]) => attribute(name, value)),
  ]);
}

function weightPieces(weights: OnnxWeights): Piece[] {
  const byteLength = weights.shape.reduce((product, dim) => product * dim, elementBytes[weights.type]);
  return nested(5, [
    ...weights.shape.flatMap((dim) => integer(1, dim)),
    ...integer(2, onnxType[weights.type]),
    ...text(8, weights.name),
    ...nested(9, [{ byteLength, fill: weights.fill }]),
  ]);
}

function graphPieces(graph: OnnxGraph, name: string): Piece[] {
  return [
    ...graph.nodes.flatMap(nodePieces),
    ...text(2, name),
    ...graph.weights.flatMap(weightPieces),
    ...graph.inputs.flatMap((value) => valueInfo(11, value)),
    ...graph.outputs.flatMap((value) => valueInfo(12, value)),
  ];
}

/** Writes an ONNX model; the file appears whole or not at all. Its folder is made when it is missing. */
export async function writeOnnx(path: string, graph: OnnxGraph): Promise<void> {
  const opset = nested(8, [...text(1, ''), ...integer(2, opsetVersion)]);
  const model = [...integer(1, irVersion), ...text(2, 'shoal-bench'), ...opset, ...nested(7, graphPieces(graph, 'g'))];
  await mkdir(dirname(path), { recursive: true });
  const partial = `${path}.partial`;
  const file = await open(partial, 'w');
  try {
    await writePieces(file, model);
    await file.close();
    await rename(partial, path);
  } catch (thrown) {
    await file.close();
    await rm(partial, { force: true });
    throw thrown;
  }
}

async function writePieces(file: FileHandle, pieces: readonly Piece[]): Promise<void> {
  const part = Buffer.allocUnsafe(partBytes);
  let small: Buffer[] = [];
  const flush = async (): Promise<void> => {
    if (small.length > 0) await file.writeFile(Buffer.concat(small));
    small = [];
  };
  for (const piece of pieces) {
    if (Buffer.isBuffer(piece)) {
      small.push(piece);
      continue;
    }
    await flush();
    for (let left = piece.byteLength; left > 0; left -= partBytes) {
      const slice = part.subarray(0, Math.min(left, partBytes));
      piece.fill(slice);
      await file.writeFile(slice);
    }
  }
  await flush();
}
