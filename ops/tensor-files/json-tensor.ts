import { type Datatype, isDatatype } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import { elementCount } from '../../core/tensor.js';
import { type Element, encodeElements } from './elements.js';
import type { FileTensor } from './file-tensor.js';

const bad = (label: string, what: string): ShoalError => new ShoalError('BAD_FILE', `${label} ${what}.`);

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Reads tensors from JSON, in any of three forms: nested arrays of values; one OIP tensor
 * (`{"shape", "data"}`, with `datatype` and `name` if wanted); or a whole OIP request (`{"inputs": […]}`).
 * Integers beyond 2^53 may be written as strings.
 * @throws BAD_FILE
 */
export function readJsonTensors(bytes: Uint8Array, label: string): readonly FileTensor[] {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (thrown) {
    throw bad(label, `is not JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  if (!isRecord(json)) return [plainTensor(json, label)];
  const { inputs } = json;
  if (inputs === undefined) return [oipTensor(json, label)];
  if (!Array.isArray(inputs) || inputs.length === 0) throw bad(label, 'has no tensors under "inputs"');
  return inputs.map((input: unknown, index) => {
    if (!isRecord(input) || typeof input.name !== 'string') {
      throw bad(label, `has no "name" for tensor ${index} of "inputs"`);
    }
    return oipTensor(input, `${label}: input ${input.name}`);
  });
}

function plainTensor(json: unknown, label: string): FileTensor {
  const elements: Element[] = [];
  const shape = nestedShape(json);
  flatten(json, shape, 0, elements, undefined, label);
  return { name: '', shape, content: { kind: 'values', elements } };
}

function oipTensor(json: Readonly<Record<string, unknown>>, label: string): FileTensor {
  const { name, shape, datatype, data } = json;
  if (data === undefined) throw bad(label, 'has no "data"; expected nested arrays, or "shape", "datatype" and "data"');
  if (datatype !== undefined && (typeof datatype !== 'string' || !isDatatype(datatype))) {
    throw bad(label, `has datatype ${JSON.stringify(datatype)}; expected one of the protocol's, like FP32 or INT64`);
  }
  const isShape = (value: unknown): value is number[] =>
    Array.isArray(value) && value.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (shape !== undefined && !isShape(shape)) {
    throw bad(label, `has shape ${JSON.stringify(shape)}; expected a list of whole numbers`);
  }
  const elements: Element[] = [];
  const nested = nestedShape(data);
  flatten(data, nested, 0, elements, datatype, label);
  const finalShape = shape ?? nested;
  if (elements.length !== elementCount(finalShape)) {
    throw bad(
      label,
      `holds ${elements.length} elements; expected ${elementCount(finalShape)} for shape [${finalShape.join(',')}]`,
    );
  }
  return {
    name: typeof name === 'string' ? name : '',
    shape: finalShape,
    content:
      datatype === undefined
        ? { kind: 'values', elements }
        : { kind: 'bytes', datatype, data: encodeElements(datatype, elements, 'nearest', label) },
  };
}

/** The shape that the first element of every level suggests; `flatten` checks the rest. */
function nestedShape(json: unknown): number[] {
  const shape: number[] = [];
  for (let level = json; Array.isArray(level); level = level[0]) shape.push(level.length);
  return shape;
}

function flatten(
  json: unknown,
  shape: readonly number[],
  depth: number,
  into: Element[],
  datatype: Datatype | undefined,
  label: string,
): void {
  if (depth === shape.length) {
    into.push(readElement(json, datatype, into.length, label));
    return;
  }
  if (!Array.isArray(json) || json.length !== shape[depth]) {
    throw bad(label, `is ragged: expected arrays of ${shape[depth]} at depth ${depth + 1}`);
  }
  for (const inner of json) flatten(inner, shape, depth + 1, into, datatype, label);
}

function readElement(json: unknown, datatype: Datatype | undefined, index: number, label: string): Element {
  if (typeof json === 'boolean') return json;
  if (typeof json === 'number') {
    if (Number.isInteger(json) && !Number.isSafeInteger(json) && (datatype === 'INT64' || datatype === 'UINT64')) {
      throw bad(label, `has ${json} at element ${index}, beyond what JSON numbers hold exactly; write it as a string`);
    }
    return json;
  }
  if (typeof json === 'string') {
    const wholeNumber = datatype === 'INT64' || datatype === 'UINT64';
    return wholeNumber && /^-?\d{1,20}$/.test(json) ? BigInt(json) : Buffer.from(json, 'utf8');
  }
  throw bad(label, `has ${JSON.stringify(json)?.slice(0, 40)} at element ${index}; expected numbers, booleans or text`);
}
