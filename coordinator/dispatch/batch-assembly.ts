import { elementBytes } from '../../core/datatype.js';
import { invariant, ShoalError } from '../../core/errors.js';
import type { Batch, BatchResult } from '../../core/link.js';
import { executedRows, type ModelSpec, type SequenceAxis } from '../../core/model.js';
import { cutAxis, elementOf, padAxis } from '../../core/padding.js';
import { elementCount, type ScatteredTensor, shapeText, type Tensor } from '../../core/tensor.js';
import { paddedShape, type SequencePadding, sequenceAxes } from '../admission/sequence-padding.js';
import { type CallPiece, endOfRows } from './call.js';
import { addEmptyRows } from './empty-rows.js';

const noAxes: readonly SequenceAxis[] = [];

/**
 * Lays the pieces' rows end to end, input by input, without copying, except where a sequence is padded. All pieces are
 * of one model version and one shape key; unbatched models come one piece at a time. `rows` counts the pieces' own
 * rows; `Batch.rows` also the empty ones that fill up a fixed size. `device`: as in `Batch.device`.
 */
export function assembleBatch(
  batchId: number,
  pieces: readonly CallPiece[],
  rows: number,
  nowMs: number,
  traceparent: string,
  device: string,
): Batch {
  const first = pieces[0] as CallPiece;
  const { spec, admitted } = first.call;
  const batching = spec.maxBatchSize > 0;
  const executed = executedRows(spec.batching, rows);
  const inputs: ScatteredTensor[] = [];
  for (let i = 0; i < admitted.inputs.length; i++) {
    const { name, datatype, shape } = admitted.inputs[i] as Tensor;
    const { padding } = admitted;
    const axes = padding === undefined ? noAxes : (sequenceAxes(spec).inputs[i] ?? noAxes);
    const rowShape = padding === undefined ? shape : paddedShape(shape, axes, padding.paddedLength);
    const parts: Uint8Array[] = [];
    let byteLength = 0;
    for (const piece of pieces) {
      const part = axes.length === 0 ? (piece.inputs[i] as Uint8Array) : paddedPart(piece, i, axes);
      parts.push(part);
      byteLength += part.length;
    }
    if (executed > rows) {
      const rowBytes = elementCount(rowShape.slice(1)) * (elementBytes[datatype] || 4);
      byteLength += addEmptyRows(parts, (executed - rows) * rowBytes, datatype, axes[0]?.padValue ?? 0);
    }
    inputs.push({ name, datatype, shape: batching ? [executed, ...rowShape.slice(1)] : shape, parts, byteLength });
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
    rows: executed,
    device,
    inputs,
    outputs,
    budgetUs: Math.max(0, (lastDeadlineMs - nowMs) * 1000),
    traceparent,
    attempt,
  };
}

/** The piece's bytes of one input that has sequence axes: as they are when they have the padded length already. */
function paddedPart(piece: CallPiece, input: number, axes: readonly SequenceAxis[]): Uint8Array {
  const { inputs, padding } = piece.call.admitted;
  const { datatype, shape } = inputs[input] as Tensor;
  let part = piece.inputs[input] as Uint8Array;
  if (padding === undefined || padding.length === padding.paddedLength) return part;
  const lengths = [piece.rows, ...shape.slice(1)];
  for (const { axis, padValue } of axes) {
    const element = elementOf(datatype, padValue);
    invariant(element !== undefined, `the worker has checked that ${datatype} can hold ${padValue}`);
    part = padAxis(part, lengths, axis, padding.paddedLength, element);
    lengths[axis] = padding.paddedLength;
  }
  return part;
}

/**
 * Each piece's own rows of the result, in the order of `pieces`, cut to its own sequence length: as slices, except
 * where a sequence is cut out of several rows. `rows` counts the pieces' own rows, as for `assembleBatch`.
 * @throws EXECUTION_FAILED when an output does not have one entry per row, so that nobody can say whose it is, or not
 * the padded length along an axis that is declared to have it.
 */
export function splitResult(result: BatchResult, pieces: readonly CallPiece[], rows: number): Tensor[][] {
  const { spec, admitted } = (pieces[0] as CallPiece).call;
  for (const name of admitted.outputs) {
    invariant(
      result.outputs.some((output) => output.name === name),
      `the worker returned output ${name}, which it was asked for`,
    );
  }
  if (spec.maxBatchSize === 0) return [result.outputs as Tensor[]];
  const executed = executedRows(spec.batching, rows);
  const { padding } = admitted;
  const shares: Tensor[][] = pieces.map(() => []);
  for (const output of result.outputs) {
    if (output.shape[0] !== executed) {
      throw new ShoalError(
        'EXECUTION_FAILED',
        `Output '${output.name}' of model '${spec.model}' has shape ${shapeText(output.shape)} for a batch of ${executed} rows: the model does not batch along its first axis; set max_batch_size: 0 in its config.pbtxt.`,
      );
    }
    const axes = padding === undefined ? noAxes : (sequenceAxes(spec).outputs.get(output.name) ?? noAxes);
    if (padding !== undefined) requirePaddedLength(spec, output, axes, padding);
    if (pieces.length === 1 && executed === rows) {
      (shares[0] as Tensor[]).push(cutSequences(output, axes, padding));
      continue;
    }
    const tail = output.shape.slice(1);
    let from = 0;
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i] as CallPiece;
      const to = endOfRows(output, from, piece.rows, executed);
      invariant(to >= from, `output ${output.name} holds the bytes of all its rows`);
      const share = {
        name: output.name,
        datatype: output.datatype,
        shape: [piece.rows, ...tail],
        data: output.data.subarray(from, to),
      };
      (shares[i] as Tensor[]).push(cutSequences(share, axes, piece.call.admitted.padding));
      from = to;
    }
  }
  return shares;
}

function requirePaddedLength(
  spec: ModelSpec,
  { name, shape }: Tensor,
  axes: readonly SequenceAxis[],
  { paddedLength }: SequencePadding,
): void {
  const wrong = axes.find(({ axis }) => shape[axis] !== paddedLength);
  if (wrong === undefined) return;
  throw new ShoalError(
    'EXECUTION_FAILED',
    `Output '${name}' of model '${spec.model}' has shape ${shapeText(shape)} for sequences of ${paddedLength}: axis ${wrong.axis} has not that length; mend the parameter 'sequence_axes' in its config.pbtxt.`,
  );
}

function cutSequences(output: Tensor, axes: readonly SequenceAxis[], padding: SequencePadding | undefined): Tensor {
  if (padding === undefined || padding.length === padding.paddedLength || axes.length === 0) return output;
  const { name, datatype } = output;
  invariant(datatype !== 'BYTES', `the worker has checked that output ${name} is not of strings`);
  const shape = [...output.shape];
  let data = output.data;
  for (const { axis } of axes) {
    data = cutAxis(data, shape, axis, padding.length, datatype);
    shape[axis] = padding.length;
  }
  return { name, datatype, shape, data };
}
