import { type Datatype, elementBytes } from '../core/datatype.js';
import { invariant, ShoalError } from '../core/errors.js';
import { encodeBfloat16, encodeHalf } from '../core/half-float.js';
import type { Random } from '../core/random.js';
import { elementCount, shapeText, type Tensor, type TensorSpec } from '../core/tensor.js';

/** What the caller of the harness said about inputs. */
export interface InputChoices {
  /** Rows per request; undefined: what shapes and files say, else 1. */
  readonly rows: number | undefined;
  /** Input name → shape, with or without the batch axis. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Input name → tensor read from a file, whose rows are used in turn. */
  readonly files: ReadonlyMap<string, Tensor>;
}

/** The shapes of one request, settled. */
export interface InputPlan {
  readonly specs: readonly TensorSpec[];
  /** 1 when the model has no batch axis. */
  readonly rows: number;
  /** All inputs have a free first dimension. */
  readonly batched: boolean;
  readonly files: ReadonlyMap<string, Tensor>;
}

function refuse(why: string): never {
  throw new ShoalError('BAD_SETTING', why);
}

/**
 * Settles every free dimension: the batch axis from `rows`, the others from `shapes` and `files`.
 * @throws BAD_SETTING naming the input whose shape is open or does not fit
 */
export function planInputs(specs: readonly TensorSpec[], choices: InputChoices): InputPlan {
  const batched = specs.length > 0 && specs.every((spec) => spec.shape[0] === -1);
  const names = specs.map((spec) => spec.name);
  for (const name of [...choices.shapes.keys(), ...choices.files.keys()]) {
    if (!names.includes(name)) refuse(`The model has no input "${name}"; it has ${names.join(', ')}.`);
  }
  if (!batched && choices.rows !== undefined && choices.rows !== 1) {
    refuse(`--batch ${choices.rows} needs a model with a free first dimension in every input.`);
  }
  const given = (spec: TensorSpec): readonly number[] => {
    const file = choices.files.get(spec.name);
    if (file !== undefined && file.datatype !== spec.datatype) {
      refuse(`Input "${spec.name}" is ${spec.datatype} and its file holds ${file.datatype}.`);
    }
    const shape = file?.shape ?? choices.shapes.get(spec.name) ?? spec.shape;
    return batched && shape.length === spec.shape.length - 1 ? [-1, ...shape] : shape;
  };
  const shapes = specs.map(given);
  const rowsSaid = specs.map((spec, i) => (choices.shapes.has(spec.name) ? (shapes[i]?.[0] ?? -1) : -1));
  const rows = batched ? (choices.rows ?? rowsSaid.find((said) => said > 0) ?? 1) : 1;
  const settled = specs.map((spec, i) => {
    const shape = (shapes[i] ?? []).map((dim, axis) => (batched && axis === 0 ? rows : dim));
    const fits =
      shape.length === spec.shape.length && spec.shape.every((dim, axis) => dim === -1 || dim === shape[axis]);
    if (!fits) refuse(`Input "${spec.name}" has shape ${shapeText(spec.shape)}; ${shapeText(shape)} does not fit it.`);
    if (shape.some((dim) => !Number.isInteger(dim) || dim < 0)) {
      refuse(
        `Input "${spec.name}" has free dimensions, ${shapeText(spec.shape)}; say which with --shape ${spec.name}:…`,
      );
    }
    return { ...spec, shape };
  });
  return { specs: settled, rows, batched, files: choices.files };
}

/**
 * Settles several shapes that requests are to have in turn.
 * @param choices at least one
 * @throws BAD_SETTING as `planInputs`, and when they differ in rows
 */
export function planShapes(
  specs: readonly TensorSpec[],
  choices: readonly InputChoices[],
): readonly [InputPlan, ...InputPlan[]] {
  const [first, ...others] = choices.map((choice) => planInputs(specs, choice));
  invariant(first !== undefined, 'there is a shape to send');
  const odd = others.find(({ rows }) => rows !== first.rows);
  if (odd !== undefined) {
    refuse(`The shapes of --shape have ${first.rows} and ${odd.rows} rows; requests of one run have as many each.`);
  }
  return [first, ...others];
}

/** The tensors of request number `index`: rows of files in turn, everything else random. */
export function makeInputs(plan: InputPlan, index: number, random: Random): readonly Tensor[] {
  return plan.specs.map((spec) => {
    const file = plan.files.get(spec.name);
    if (file === undefined) return { ...spec, data: randomBytes(spec.datatype, elementCount(spec.shape), random) };
    return { ...spec, data: plan.batched ? rowsOf(file, spec, plan.rows, index) : file.data };
  });
}

/** `rows` rows of a file of fixed-size elements, from row `index × rows` on, going round. */
function rowsOf(file: Tensor, spec: TensorSpec, rows: number, index: number): Uint8Array {
  const rowBytes = elementCount(spec.shape.slice(1)) * elementBytes[spec.datatype];
  const fileRows = Math.max(1, Math.floor(file.data.length / Math.max(1, rowBytes)));
  const data = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    const from = ((index * rows + row) % fileRows) * rowBytes;
    data.set(file.data.subarray(from, from + rowBytes), row * rowBytes);
  }
  return data;
}

/**
 * Raw contents of `count` elements: floats in [-1, 1), integers in [0, 128), BYTES of 8 letters. Small
 * integers are indices that most models accept.
 */
export function randomBytes(datatype: Datatype, count: number, random: Random): Uint8Array {
  const size = datatype === 'BYTES' ? 12 : elementBytes[datatype];
  const data = new Uint8Array(count * size);
  const view = new DataView(data.buffer);
  const write = writers[datatype];
  for (let i = 0; i < count; i++) write(view, i * size, random);
  return data;
}

type Writer = (view: DataView, at: number, random: Random) => void;

const real = (random: Random): number => random.next() * 2 - 1;
const byte: Writer = (view, at, random) => view.setUint8(at, random.int(128));
const twoBytes: Writer = (view, at, random) => view.setUint16(at, random.int(128), true);
const fourBytes: Writer = (view, at, random) => view.setUint32(at, random.int(128), true);
const eightBytes: Writer = (view, at, random) => view.setBigUint64(at, BigInt(random.int(128)), true);

const writers: Readonly<Record<Datatype, Writer>> = {
  BOOL: (view, at, random) => view.setUint8(at, random.int(2)),
  UINT8: byte,
  INT8: byte,
  UINT16: twoBytes,
  INT16: twoBytes,
  UINT32: fourBytes,
  INT32: fourBytes,
  UINT64: eightBytes,
  INT64: eightBytes,
  FP16: (view, at, random) => view.setUint16(at, encodeHalf(real(random)), true),
  BF16: (view, at, random) => view.setUint16(at, encodeBfloat16(real(random)), true),
  FP32: (view, at, random) => view.setFloat32(at, real(random), true),
  FP64: (view, at, random) => view.setFloat64(at, real(random), true),
  BYTES: (view, at, random) => {
    view.setUint32(at, 8, true);
    for (let i = 0; i < 8; i++) view.setUint8(at + 4 + i, 97 + random.int(26));
  },
};
