import { isUtf8 } from 'node:buffer';
import { ShoalError } from '../../core/errors.js';
import type { InferRequest, Parameters } from '../../core/inference.js';
import type { ModelSpec } from '../../core/model.js';
import {
  elementCount,
  expectedBytes,
  shapeText,
  skipBytesElements,
  type Tensor,
  type TensorSpec,
} from '../../core/tensor.js';
import { paddedShape, type SequencePadding, sequenceAxes, sequencePadding } from './sequence-padding.js';

/** A request that fits the model: whatever is queued from here on can be executed. */
export interface AdmittedInputs {
  /** Entries along the batch axis; 1 for a model that does not batch. */
  readonly rows: number;
  /** In the order of the model's signature. */
  readonly inputs: readonly Tensor[];
  /** How its sequences are padded for a batch; undefined for a model without sequence buckets. */
  readonly padding: SequencePadding | undefined;
  /** Equal for requests that can lie in one batch, once they are padded. */
  readonly shapeKey: string;
  /** Names of the outputs wanted, in the order asked for. */
  readonly outputs: readonly string[];
}

/**
 * Checks a request against the model's signature: names, datatypes, ranks, dimensions, byte lengths,
 * requested outputs. ONNX Runtime would find the same faults, but only when a whole batch is lost by them.
 * @throws INVALID_REQUEST with a sentence that names the tensor, what was expected and what came.
 */
export function checkRequest(spec: ModelSpec, request: InferRequest): AdmittedInputs {
  const batching = spec.maxBatchSize > 0;
  if (request.inputs.length !== spec.inputs.length) throw wrongInputSet(spec, request);
  const inputs: Tensor[] = [];
  let rows = batching ? -1 : 1;
  for (let i = 0; i < spec.inputs.length; i++) {
    const expected = spec.inputs[i] as TensorSpec;
    const input = findInput(spec, request, expected.name, i);
    checkTensor(spec.model, expected, input);
    if (batching) {
      const entries = input.shape[0] ?? 0;
      if (entries === 0) {
        throw invalid(
          `input '${input.name}' of model '${spec.model}' has shape ${shapeText(input.shape)}: zero rows cannot be executed`,
        );
      }
      if (rows >= 0 && rows !== entries) {
        throw invalid(
          `inputs of model '${spec.model}' disagree on the number of rows: '${request.inputs[0]?.name}' has ${rows}, '${input.name}' has ${entries}`,
        );
      }
      rows = entries;
    }
    inputs.push(input);
  }
  const padding = sequencePadding(spec, inputs);
  const shapeKey = batching ? shapeKeyOf(spec, inputs, padding) : '';
  return { rows: Math.max(rows, 1), inputs, padding, shapeKey, outputs: wantedOutputs(spec, request) };
}

/** The caller's own limit from the OIP `timeout` parameter (microseconds; 0 or absent: none), as milliseconds. */
export function timeoutMs(parameters: Parameters): number {
  const timeout = parameters.timeout;
  if (timeout === undefined) return Number.POSITIVE_INFINITY;
  if ((typeof timeout !== 'number' && typeof timeout !== 'bigint') || timeout < 0) {
    throw invalid(`parameter 'timeout' must be a whole number of microseconds, got ${JSON.stringify(String(timeout))}`);
  }
  return timeout === 0 || timeout === 0n ? Number.POSITIVE_INFINITY : Number(timeout) / 1000;
}

const invalid = (sentence: string): ShoalError =>
  new ShoalError('INVALID_REQUEST', `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`);

function findInput(spec: ModelSpec, request: InferRequest, name: string, position: number): Tensor {
  const likely = request.inputs[position];
  if (likely?.name === name) return likely;
  const found = request.inputs.find((input) => input.name === name);
  if (found === undefined) throw wrongInputSet(spec, request);
  return found;
}

function wrongInputSet(spec: ModelSpec, request: InferRequest): ShoalError {
  const expected = spec.inputs.map((input) => `'${input.name}'`).join(', ') || 'none';
  const got = request.inputs.map((input) => `'${input.name}'`).join(', ') || 'none';
  return invalid(`model '${spec.model}' takes inputs ${expected}, got ${got}`);
}

function checkTensor(model: string, expected: TensorSpec, input: Tensor): void {
  if (input.datatype !== expected.datatype) {
    throw invalid(`input '${input.name}' of model '${model}' has datatype ${expected.datatype}, got ${input.datatype}`);
  }
  const { shape } = input;
  let fits = shape.length === expected.shape.length;
  for (let d = 0; fits && d < shape.length; d++) {
    const limit = expected.shape[d] as number;
    fits = limit < 0 ? (shape[d] as number) >= 0 : shape[d] === limit;
  }
  if (!fits) {
    throw invalid(
      `input '${input.name}' of model '${model}' has shape ${shapeText(expected.shape)} (-1: any length), got ${shapeText(shape)}`,
    );
  }
  const bytes = expectedBytes(input.datatype, shape);
  if (bytes === undefined) checkBytesTensor(model, input);
  else if (bytes !== input.data.length) {
    throw invalid(
      `input '${input.name}' of model '${model}' with shape ${shapeText(shape)} and datatype ${input.datatype} takes ${bytes} bytes, got ${input.data.length}`,
    );
  }
}

function checkBytesTensor(model: string, input: Tensor): void {
  const { data } = input;
  const count = elementCount(input.shape);
  // Every element takes at least its length prefix: a hostile shape must not make us walk for ever.
  const end = count * 4 <= data.length ? skipBytesElements(data, 0, count) : -1;
  if (end !== data.length) {
    throw invalid(
      `input '${input.name}' of model '${model}' with shape ${shapeText(input.shape)} takes ${count} length-prefixed elements that fill its ${data.length} bytes exactly; they do not`,
    );
  }
  let at = 0;
  for (let i = 0; i < count; i++) {
    const next = skipBytesElements(data, at, 1);
    const element = data.subarray(at + 4, next);
    if (!isUtf8(element)) {
      throw invalid(
        `input '${input.name}' of model '${model}' has an element (number ${i}) that is not UTF-8; ONNX strings are`,
      );
    }
    // The Node binding hands strings over as C strings: what follows a NUL would be lost without a word.
    if (element.includes(0)) {
      throw invalid(
        `input '${input.name}' of model '${model}' has an element (number ${i}) with a NUL character, where ONNX Runtime would cut it off`,
      );
    }
    at = next;
  }
}

function shapeKeyOf(spec: ModelSpec, inputs: readonly Tensor[], padding: SequencePadding | undefined): string {
  let key = '';
  for (let i = 0; i < inputs.length; i++) {
    const { shape } = inputs[i] as Tensor;
    const axes = padding === undefined ? undefined : sequenceAxes(spec).inputs[i];
    const batched =
      axes === undefined || padding === undefined ? shape : paddedShape(shape, axes, padding.paddedLength);
    key += freeDims((spec.inputs[i] as TensorSpec).shape, batched);
  }
  return key;
}

function freeDims(expected: readonly number[], actual: readonly number[]): string {
  let key = '';
  for (let d = 1; d < expected.length; d++) if ((expected[d] as number) < 0) key += `${actual[d]},`;
  return key === '' ? '' : `${key};`;
}

function wantedOutputs(spec: ModelSpec, request: InferRequest): readonly string[] {
  if (request.outputs.length === 0) return outputNames(spec);
  const names = request.outputs.map((output) => output.name);
  const seen = new Set<string>();
  for (const name of names) {
    if (!spec.outputs.some((output) => output.name === name)) {
      throw invalid(
        `model '${spec.model}' has outputs ${outputNames(spec)
          .map((known) => `'${known}'`)
          .join(', ')}, not '${name}'`,
      );
    }
    if (seen.has(name)) throw invalid(`output '${name}' is requested twice`);
    seen.add(name);
  }
  return names;
}

const namesBySpec = new WeakMap<ModelSpec, readonly string[]>();

function outputNames(spec: ModelSpec): readonly string[] {
  let names = namesBySpec.get(spec);
  if (names === undefined) {
    names = spec.outputs.map((output) => output.name);
    namesBySpec.set(spec, names);
  }
  return names;
}
