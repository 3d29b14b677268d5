import type { Batch } from '../../core/link.js';
import { type BatchingRule, type ModelSpec, naturalBatching } from '../../core/model.js';
import type { Tensor } from '../../core/tensor.js';
import type { LatencyProfile } from './profile.js';

/** A model that exists only as a signature and a latency profile. */
export interface SimModel {
  /** Its own number, which every row of an answer must carry. */
  readonly index: number;
  readonly spec: ModelSpec;
  readonly profile: LatencyProfile;
  /** Spread of execution times: standard deviation of their logarithm; 0: always exactly the profile's. */
  readonly noise: number;
}

const wordBytes = 4;
/** Words of one input row that say whose it is: the request's number (from 1; 0 is padding), then the row's. */
export const leastWidth = 2;
const answerWidth = 3;

/** UINT32 [-1, -1] → UINT32 [-1, 3]: each row goes in as (request, row, 0 …) and comes out as (request, row, model). */
export function simSpec(
  model: string,
  maxBatchSize: number,
  batching: Partial<BatchingRule> = {},
  more: Partial<ModelSpec> = {},
): ModelSpec {
  return {
    model,
    version: '1',
    platform: 'onnxruntime_onnx',
    maxBatchSize,
    inputs: [{ name: 'x', datatype: 'UINT32', shape: [-1, -1] }],
    outputs: [{ name: 'y', datatype: 'UINT32', shape: [-1, answerWidth] }],
    batching: { ...naturalBatching, ...batching },
    buckets: undefined,
    resources: [],
    deviceWeight: 1,
    labels: {},
    ...more,
  };
}

/** The input of one request: `rows` rows of `width` words, each with its own name in it. */
export function requestTensor(requestId: number, rows: number, width: number): Tensor {
  const words = new Uint32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    words[row * width] = requestId;
    words[row * width + 1] = row;
  }
  return { name: 'x', datatype: 'UINT32', shape: [rows, width], data: new Uint8Array(words.buffer) };
}

/** Calls `take` with the owner of each row of a batch, in order; rows that only fill it up belong to request 0. */
function walkRows(batch: Batch, take: (requestId: number, row: number) => void): void {
  const input = batch.inputs[0];
  if (input === undefined) return;
  const rowBytes = (input.shape[1] ?? leastWidth) * wordBytes;
  // A row's padding may lie in a part of its own; its first two words never do.
  let at = 0;
  for (const part of input.parts) {
    for (; at + leastWidth * wordBytes <= part.length; at += rowBytes)
      take(wordAt(part, at), wordAt(part, at + wordBytes));
    at -= part.length;
  }
}

/** Calls `take` with the owner of each row of a batch, in order; rows that only fill it up are passed over. */
export function eachRow(batch: Batch, take: (requestId: number, row: number) => void): void {
  walkRows(batch, (requestId, row) => {
    if (requestId !== 0) take(requestId, row);
  });
}

/** What a worker that computes the right thing answers. */
export function answerTensor(batch: Batch, model: SimModel): Tensor {
  const words = new Uint32Array(batch.rows * answerWidth);
  let at = 0;
  walkRows(batch, (requestId, row) => {
    words[at++] = requestId;
    words[at++] = row;
    words[at++] = model.index;
  });
  return { name: 'y', datatype: 'UINT32', shape: [batch.rows, answerWidth], data: new Uint8Array(words.buffer) };
}

/** Why these bytes are not the answer to this request's own rows, in order; undefined when they are. */
export function wrongRow(
  parts: readonly Uint8Array[],
  expected: { readonly id: number; readonly rows: number; readonly modelIndex: number },
): string | undefined {
  let row = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += answerWidth * wordBytes) {
      const requestId = wordAt(part, at);
      const executedRow = wordAt(part, at + wordBytes);
      const modelIndex = wordAt(part, at + 2 * wordBytes);
      if (requestId !== expected.id) return `its row ${row} is one of request ${requestId}`;
      if (executedRow !== row) return `its row ${row} is the answer to its row ${executedRow}`;
      if (modelIndex !== expected.modelIndex) return `its row ${row} was computed by model number ${modelIndex}`;
      row++;
    }
  }
  return row === expected.rows ? undefined : `it has ${row} rows instead of ${expected.rows}`;
}

/** Little-endian, wherever a batch was cut. */
const wordAt = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16)) + (bytes[at + 3] ?? 0) * 0x1000000;
