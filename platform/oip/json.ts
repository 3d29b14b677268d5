import { type Datatype, elementBytes, isDatatype } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import {
  type InferRequest,
  type InferResponse,
  noParameters,
  type Parameters,
  type ParameterValue,
  type RequestedOutput,
} from '../../core/inference.js';
import { elementCount, type ScatteredTensor, shapeText, type Tensor } from '../../core/tensor.js';
import { elementsText, packElements } from './json-elements.js';
import { maxParameters, maxRank, maxTensors } from './limits.js';
import { quoted, refuseSharedMemory, shapeFault } from './tensor-checks.js';

// The JSON bodies of OIP V2 over REST. Nothing here is on the fast path: elements are converted one by one.

/**
 * Reads the body of `POST /v2/models/{model}[/versions/{version}]/infer`.
 *
 * `data` is flat (row-major) or nested exactly as the shape says. Integers are range-checked; INT64 and UINT64
 * beyond 2^53 are decimal strings; floats may be "NaN", "Infinity" or "-Infinity"; BYTES elements are strings.
 * Optional fields may be null.
 * @param body JSON text, its bytes, or the value already parsed from it
 * @throws INVALID_REQUEST naming the input and the JSON path; UNSUPPORTED for binary and shared-memory tensors
 */
export function parseInferBody(body: unknown, model: string, version: string): InferRequest {
  const root = asObject(parsed(body), 'The body');
  const inputs = asList(root.inputs, 'inputs').map((value, i) => parseInput(value, `inputs[${i}]`));
  const outputs = isAbsent(root.outputs)
    ? []
    : asList(root.outputs, 'outputs').map((value, i) => parseRequestedOutput(value, `outputs[${i}]`));
  return {
    model,
    version,
    id: isAbsent(root.id) ? '' : asText(root.id, 'id'),
    parameters: parseParameters(root.parameters, 'parameters'),
    inputs,
    outputs,
  };
}

type JsonObject = Readonly<Record<string, unknown>>;

const refuse = (sentence: string): never => {
  throw new ShoalError('INVALID_REQUEST', sentence);
};

const isAbsent = (value: unknown): boolean => value === undefined || value === null;

function parsed(body: unknown): unknown {
  const text = body instanceof Uint8Array ? Buffer.from(body.buffer, body.byteOffset, body.length).toString() : body;
  if (typeof text !== 'string') return text;
  try {
    return JSON.parse(text);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new ShoalError('INVALID_REQUEST', `The body is not JSON: ${reason}.`, { cause: thrown });
  }
}

/** A value as it may stand in an error: short, and never the whole of a large body. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (value === undefined) return 'nothing';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string') return `the string ${quoted(value)}`;
  return String(value);
}

function asObject(value: unknown, place: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  return refuse(`${place} must be a JSON object; got ${shown(value)}.`);
}

function asList(value: unknown, place: string): readonly unknown[] {
  if (!Array.isArray(value)) return refuse(`${place} must be an array; got ${shown(value)}.`);
  if (value.length > maxTensors) return refuse(`${place} has ${value.length} entries; expected at most ${maxTensors}.`);
  return value;
}

function asText(value: unknown, place: string): string {
  return typeof value === 'string' ? value : refuse(`${place} must be a string; got ${shown(value)}.`);
}

function parseParameters(value: unknown, place: string): Parameters {
  if (isAbsent(value)) return noParameters;
  const entries = Object.entries(asObject(value, place));
  if (entries.length > maxParameters) {
    return refuse(`${place} has ${entries.length} entries; expected at most ${maxParameters}.`);
  }
  const parameters = Object.create(null) as Record<string, ParameterValue>;
  for (const [key, entry] of entries) {
    const isKnown = typeof entry === 'boolean' || typeof entry === 'string' || typeof entry === 'number';
    parameters[key] = isKnown
      ? entry
      : refuse(`${place}.${clipped(key)} must be a boolean, a number or a string; got ${shown(entry)}.`);
  }
  return parameters;
}

const clipped = (key: string): string => quoted(key).slice(1, -1);

function parseRequestedOutput(value: unknown, place: string): RequestedOutput {
  const output = asObject(value, place);
  const name = asText(output.name, `${place}.name`);
  const parameters = parseParameters(output.parameters, `${place}.parameters`);
  refuseSharedMemory(`Output ${quoted(name)}`, parameters);
  return { name, parameters };
}

function parseInput(value: unknown, place: string): Tensor {
  const input = asObject(value, place);
  const name = asText(input.name, `${place}.name`);
  const label = `Input ${quoted(name)}`;
  const datatype = asText(input.datatype, `${label} (${place}.datatype)`);
  if (!isDatatype(datatype)) {
    const known = Object.keys(elementBytes).join(', ');
    return refuse(`${label} (${place}.datatype) is ${quoted(datatype)}; expected one of ${known}.`);
  }
  const shape = parseShape(input.shape, label, `${place}.shape`);
  const parameters = parseParameters(input.parameters, `${place}.parameters`);
  refuseSharedMemory(label, parameters);
  if (parameters.binary_data_size !== undefined) {
    throw new ShoalError(
      'UNSUPPORTED',
      `${label} announces binary data after the JSON body; over HTTP tensors are taken as JSON only. Send 'data', or call over gRPC.`,
    );
  }
  return { name, datatype, shape, data: parseData(input.data, datatype, shape, label, `${place}.data`) };
}

function parseShape(value: unknown, label: string, place: string): readonly number[] {
  if (!Array.isArray(value)) return refuse(`${label} (${place}) must be an array of integers; got ${shown(value)}.`);
  if (value.length > maxRank) {
    return refuse(`${label} (${place}) has ${value.length} dimensions; expected at most ${maxRank}.`);
  }
  value.forEach((dim, i) => {
    if (!Number.isInteger(dim)) refuse(`${label} (${place}[${i}]) must be an integer; got ${shown(dim)}.`);
  });
  const shape = value as readonly number[];
  const fault = shapeFault(shape);
  return fault === undefined ? shape : refuse(`${label} (${place}) is ${shapeText(shape)}; expected ${fault}.`);
}

function parseData(value: unknown, datatype: Datatype, shape: readonly number[], label: string, place: string): Buffer {
  if (!Array.isArray(value)) return refuse(`${label} (${place}) must be an array; got ${shown(value)}.`);
  const elements = elementCount(shape);
  const isNested = shape.length > 1 && Array.isArray(value[0]);
  if (!isNested && value.length !== elements) {
    return refuse(
      `${label} (${place}) has ${value.length} elements; expected ${elements} for shape ${shapeText(shape)}.`,
    );
  }
  const rows = isNested ? nestedRows(value, shape, label, place) : [value];
  return packElements(datatype, rows, elements, (row, column, element, expected) => {
    const at = isNested ? `${indexText(row, shape.slice(0, -1))}[${column}]` : `[${column}]`;
    return refuse(`${label} (${place}${at}) must be ${expected}; got ${shown(element)}.`);
  });
}

/** The innermost arrays of nested data, in order. Every level must have just as many entries as the shape says. */
function nestedRows(
  data: readonly unknown[],
  shape: readonly number[],
  label: string,
  place: string,
): readonly (readonly unknown[])[] {
  let rows: (readonly unknown[])[] = [data];
  for (let axis = 0; axis < shape.length; axis++) {
    const inner: (readonly unknown[])[] = [];
    rows.forEach((row, i) => {
      const at = `${place}${indexText(i, shape.slice(0, axis))}`;
      if (row.length !== shape[axis]) {
        refuse(`${label} (${at}) has ${row.length} entries; expected ${shape[axis]} for shape ${shapeText(shape)}.`);
      }
      if (axis === shape.length - 1) return;
      row.forEach((entry, j) => {
        inner.push(
          Array.isArray(entry) ? entry : refuse(`${label} (${at}[${j}]) must be an array; got ${shown(entry)}.`),
        );
      });
    });
    if (axis < shape.length - 1) rows = inner;
  }
  return rows;
}

/** `[1][2]` for the row-major position `index` in these leading dimensions. */
function indexText(index: number, dims: readonly number[]): string {
  let text = '';
  let rest = index;
  for (const dim of dims.toReversed()) {
    text = `[${rest % dim}]${text}`;
    rest = Math.floor(rest / dim);
  }
  return text;
}

/**
 * Writes the body of an answer: `data` is flat, row-major. NaN and the infinities are the strings "NaN",
 * "Infinity" and "-Infinity"; INT64 and UINT64 are numbers with all their digits, also beyond 2^53.
 * @throws UNSUPPORTED when a BYTES element is not UTF-8, which JSON cannot carry
 */
export function renderInferBody(response: InferResponse, parameters: Parameters = noParameters): string {
  const head = [
    `"model_name":${JSON.stringify(response.model)}`,
    `"model_version":${JSON.stringify(response.version)}`,
  ];
  if (response.id !== '') head.push(`"id":${JSON.stringify(response.id)}`);
  const entries = Object.entries(parameters);
  if (entries.length > 0) {
    head.push(
      `"parameters":{${entries.map(([key, value]) => `${JSON.stringify(key)}:${valueText(value)}`).join(',')}}`,
    );
  }
  return `{${head.join(',')},"outputs":[${response.outputs.map(outputText).join(',')}]}`;
}

function valueText(value: ParameterValue): string {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number' && !Number.isFinite(value)) return `"${value}"`;
  return JSON.stringify(value);
}

function outputText(output: ScatteredTensor): string {
  const [only] = output.parts;
  const data = only !== undefined && output.parts.length === 1 ? only : Buffer.concat(output.parts);
  const text = elementsText(output.datatype, data);
  if (text === undefined) {
    throw new ShoalError(
      'UNSUPPORTED',
      `Output ${quoted(output.name)} holds BYTES that are not UTF-8 text, which JSON cannot carry; call over gRPC.`,
    );
  }
  const { name, datatype, shape } = output;
  return `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${JSON.stringify(shape)},"data":${text}}`;
}
