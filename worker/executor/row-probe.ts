import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { decodeHalf } from '../../core/half-float.js';
import { seededRandom } from '../../core/random.js';
import { elementCount } from '../../core/tensor.js';
import { tensorOver } from './ort-tensor.js';
import type { ObservedModel, RowProbe } from './protocol.js';
import { oneLine } from './session.js';
import { randomElements, trialShape } from './trial-data.js';

type Values = ArrayLike<number | bigint | string>;
type Feeds = Record<string, OrtTensor>;

/** Between runs of one batch size the kernels are the same, so that only the company differs. */
const relativeTolerance = 1e-3;
/** Half floats have eleven bits of significance; a reordered sum may move the last few. */
const halfTolerance = 1e-2;
/** Against the largest value of the output: what rounding may do to a value that happens to be near zero. */
const floorTolerance = 1e-5;
/**
 * Between batch sizes ONNX Runtime may choose other kernels, and a model may magnify their rounding: a published
 * text classifier moves by 0.6 % of its output's length (and single small values by 6 %) on random input, while
 * different neighbours change nothing. Only a difference beyond rounding counts.
 */
export const sizeTolerance = 0.05;

export function valuesOf(tensor: OrtTensor): Values {
  const { data } = tensor;
  return tensor.type === 'float16' && data instanceof Uint16Array ? Array.from(data, decodeHalf) : (data as Values);
}

/**
 * The first element at which two lists differ by more than `tolerance` of the larger (or by a hundred-thousandth of
 * the largest value there is), as words; undefined when they agree. Not-a-number agrees with itself.
 */
export function firstDifference(expected: Values, got: Values, tolerance: number): string | undefined {
  if (expected.length !== got.length) return `${expected.length} elements with one, ${got.length} with another`;
  let scale = 0;
  for (let i = 0; i < expected.length; i++) {
    const size = Math.abs(Number(expected[i]));
    if (Number.isFinite(size)) scale = Math.max(scale, size);
  }
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] === got[i]) continue;
    const a = Number(expected[i]);
    const b = Number(got[i]);
    if (Number.isNaN(a) && Number.isNaN(b) && typeof expected[i] === 'number') continue;
    const allowed = tolerance * Math.max(Math.abs(a), Math.abs(b)) + floorTolerance * scale;
    if (!(Math.abs(a - b) <= allowed) || allowed === Number.POSITIVE_INFINITY) {
      return `element ${i} is ${expected[i]} with one and ${got[i]} with another`;
    }
  }
  return undefined;
}

/** The length of the difference of two lists over the length of the first; 0 when both are empty or all zero. */
export function relativeDistance(expected: Values, got: Values): number {
  let distance = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = Number(expected[i]);
    const b = Number(got[i]);
    if (Object.is(a, b) || !Number.isFinite(a) || !Number.isFinite(b)) continue;
    distance += (a - b) ** 2;
    size += a ** 2;
  }
  return distance === 0 ? 0 : Math.sqrt(distance / size);
}

/**
 * Does a row's answer depend on its neighbours, and has every output a row for each row of input? Three different
 * rows are run in different company, alone too. Answers that change from one run to the next of the same rows prove
 * nothing.
 */
export async function probeRows(session: InferenceSession, observed: ObservedModel): Promise<RowProbe> {
  const unknown = (detail: string): RowProbe => ({ verdict: 'unknown', detail });
  if (observed.inputs.length === 0) return unknown('the model has no inputs');
  const strings = observed.inputs.find((spec) => spec.datatype === 'BYTES');
  if (strings !== undefined) {
    return unknown(`the input "${strings.name}" is of strings, for which there is no safe trial value`);
  }
  const feeds = trialRows(observed);
  const run = (...rows: number[]): Promise<InferenceSession.ReturnType> => session.run(feeds(rows));
  try {
    return compare(observed, {
      pair: await run(0, 1),
      again: await run(0, 1),
      otherSecond: await run(0, 2),
      otherFirst: await run(2, 1),
      alone: [await run(0), await run(1)],
    });
  } catch (thrown) {
    return unknown(`a trial run failed: ${oneLine(thrown)}`);
  }
}

/** Three random rows, the same ones every time; the result puts any of them together. */
function trialRows(observed: ObservedModel): (rows: readonly number[]) => Feeds {
  const random = seededRandom(20_260_101);
  const inputs = observed.inputs.map((spec) => {
    const rowShape = trialShape(spec, 1);
    const count = elementCount(rowShape);
    return { spec, rowShape, rows: Array.from({ length: 3 }, () => randomElements(spec.datatype, count, random)) };
  });
  return (rows) => {
    const feeds: Feeds = {};
    for (const { spec, rowShape, rows: data } of inputs) {
      const joined = Buffer.concat(rows.map((row) => data[row] ?? new Uint8Array()));
      const { buffer } = Uint8Array.from(joined);
      const shape = [rows.length, ...rowShape.slice(1)];
      const placement = { index: 0, datatype: spec.datatype, shape, offset: 0, byteLength: joined.length };
      feeds[spec.name] = tensorOver(buffer, placement);
    }
    return feeds;
  };
}

interface Trials {
  /** Rows 0 and 1. */
  readonly pair: InferenceSession.ReturnType;
  readonly again: InferenceSession.ReturnType;
  /** Rows 0 and 2. */
  readonly otherSecond: InferenceSession.ReturnType;
  /** Rows 2 and 1. */
  readonly otherFirst: InferenceSession.ReturnType;
  /** Row 0, row 1. */
  readonly alone: readonly [InferenceSession.ReturnType, InferenceSession.ReturnType];
}

function compare(observed: ObservedModel, trials: Trials): RowProbe {
  const dependent = (detail: string): RowProbe => ({ verdict: 'dependent', detail });
  for (const { name, datatype } of observed.outputs) {
    for (const [result, rows] of [
      [trials.pair, 2],
      [trials.alone[0], 1],
    ] as const) {
      const dims = (result[name] as OrtTensor | undefined)?.dims ?? [];
      if (dims[0] !== rows) {
        return dependent(`the output "${name}" has shape [${dims.join(',')}] for ${rows} row(s) of input`);
      }
    }
    const tolerance = datatype === 'FP16' ? halfTolerance : relativeTolerance;
    const rowOf = (result: InferenceSession.ReturnType, row: number, of: number): Values => {
      const values = Array.from(valuesOf(result[name] as OrtTensor) as ArrayLike<number>);
      const length = values.length / of;
      return values.slice(row * length, (row + 1) * length);
    };
    for (const row of [0, 1] as const) {
      const usual = rowOf(trials.pair, row, 2);
      if (firstDifference(usual, rowOf(trials.again, row, 2), tolerance) !== undefined) {
        return { verdict: 'unknown', detail: `the output "${name}" changes from run to run` };
      }
      const company = row === 0 ? trials.otherSecond : trials.otherFirst;
      const difference = firstDifference(usual, rowOf(company, row, 2), tolerance);
      if (difference !== undefined) {
        return dependent(`the output "${name}" of a row changes with its neighbour: ${difference}`);
      }
      // Class numbers and strings jump where scores tie; for them the neighbours' test has to do.
      const distance = datatype.startsWith('FP') ? relativeDistance(rowOf(trials.alone[row], 0, 1), usual) : 0;
      if (distance > sizeTolerance) {
        const percent = (100 * distance).toPrecision(3);
        return dependent(`the output "${name}" of a row alone and in a batch of two differ by ${percent} %`);
      }
    }
  }
  return { verdict: 'independent', detail: '' };
}
