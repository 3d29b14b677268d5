import { invariant, ShoalError } from '../../core/errors.js';
import type { Batch, BatchResult } from '../../core/link.js';
import { type ScatteredTensor, shapeText, type Tensor } from '../../core/tensor.js';
import { type CallPiece, endOfRows } from './call.js';

/**
 * Lays the pieces' rows end to end, input by input, without copying.
 * All pieces are of one model version and one shape key; unbatched models come one piece at a time.
 */
export function assembleBatch(
  batchId: number,
  pieces: readonly CallPiece[],
  rows: number,
  nowMs: number,
  traceparent: string,
): Batch {
  const first = pieces[0] as CallPiece;
  const { spec, admitted } = first.call;
  const batching = spec.maxBatchSize > 0;
  const inputs: ScatteredTensor[] = [];
  for (let i = 0; i < admitted.inputs.length; i++) {
    const { name, datatype, shape } = admitted.inputs[i] as Tensor;
    const parts: Uint8Array[] = [];
    let byteLength = 0;
    for (const piece of pieces) {
      const part = piece.inputs[i] as Uint8Array;
      parts.push(part);
      byteLength += part.length;
    }
    inputs.push({ name, datatype, shape: batching ? [rows, ...shape.slice(1)] : shape, parts, byteLength });
  }
  let outputs: readonly string[] = admitted.outputs;
  let lastDeadlineMs = first.deadlineMs;
  let attempt = first.attempt;
  for (const piece of pieces) {
    if (piece.call.admitted.outputs !== outputs && outputs.length < spec.outputs.length) {
      outputs = [...new Set([...outputs, ...piece.call.admitted.outputs])];
    }
    lastDeadlineMs = Math.max(lastDeadlineMs, piece.deadlineMs);
    attempt = Math.max(attempt, piece.attempt);
  }
  return {
    batchId,
    model: spec.model,
    version: spec.version,
    rows,
    device: '',
    inputs,
    outputs,
    budgetUs: Math.max(0, (lastDeadlineMs - nowMs) * 1000),
    traceparent,
    attempt,
  };
}

/**
 * Each piece's own rows of the result, as slices of it, in the order of `pieces`.
 * @throws EXECUTION_FAILED when an output does not have one entry per row: then nobody can say whose it is.
 */
export function splitResult(result: BatchResult, pieces: readonly CallPiece[], rows: number): Tensor[][] {
  const { spec } = (pieces[0] as CallPiece).call;
  for (const name of (pieces[0] as CallPiece).call.admitted.outputs) {
    invariant(
      result.outputs.some((output) => output.name === name),
      `the worker returned output ${name}, which it was asked for`,
    );
  }
  if (spec.maxBatchSize === 0) return [result.outputs as Tensor[]];
  const shares: Tensor[][] = pieces.map(() => []);
  for (const output of result.outputs) {
    if (output.shape[0] !== rows) {
      throw new ShoalError(
        'EXECUTION_FAILED',
        `Output '${output.name}' of model '${spec.model}' has shape ${shapeText(output.shape)} for a batch of ${rows} rows: the model does not batch along its first axis; set max_batch_size: 0 in its config.pbtxt.`,
      );
    }
    if (pieces.length === 1) {
      (shares[0] as Tensor[]).push(output);
      continue;
    }
    const tail = output.shape.slice(1);
    let from = 0;
    for (let i = 0; i < pieces.length; i++) {
      const count = (pieces[i] as CallPiece).rows;
      const to = endOfRows(output, from, count, rows);
      invariant(to >= from, `output ${output.name} holds the bytes of all its rows`);
      (shares[i] as Tensor[]).push({
        name: output.name,
        datatype: output.datatype,
        shape: [count, ...tail],
        data: output.data.subarray(from, to),
      });
      from = to;
    }
  }
  return shares;
}
