import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type { Datatype } from '../../core/datatype.js';
import type { SequenceAxis, SequenceBuckets } from '../../core/model.js';
import { cutAxis, elementOf, padAxis } from '../../core/padding.js';
import { seededRandom } from '../../core/random.js';
import { elementCount, shapeText } from '../../core/tensor.js';
import { bytesOf, tensorOver } from './ort-tensor.js';
import type { ObservedModel, PaddingProbe } from './protocol.js';
import { relativeDistance, sizeTolerance, valuesOf } from './row-probe.js';
import { oneLine } from './session.js';
import { randomElements, trialShape } from './trial-data.js';

type Results = InferenceSession.ReturnType;

/**
 * Does a sequence that is padded to its bucket give the answers that it gives by itself? One random row is run both
 * ways, half as long as the smallest bucket. What the model's author declared is served anyway, so this only tells.
 */
export async function probePadding(
  session: InferenceSession,
  observed: ObservedModel,
  buckets: SequenceBuckets,
): Promise<PaddingProbe> {
  const unknown = (detail: string): PaddingProbe => ({ verdict: 'unknown', detail });
  const paddedLength = buckets.lengths[0] ?? 0;
  const length = Math.ceil(paddedLength / 2);
  if (length === paddedLength) return unknown('a bucket of 1 pads nothing');
  const strings = observed.inputs.find((spec) => spec.datatype === 'BYTES');
  if (strings !== undefined) {
    return unknown(`the input "${strings.name}" is of strings, for which there is no safe trial value`);
  }
  const plain: Record<string, OrtTensor> = {};
  const padded: Record<string, OrtTensor> = {};
  const random = seededRandom(20_260_102);
  for (const spec of observed.inputs) {
    const axes = buckets.inputs.filter(({ tensor }) => tensor === spec.name);
    const shape = trialShape(spec, 1);
    for (const { axis } of axes) shape[axis] = length;
    const data = randomElements(spec.datatype, elementCount(shape), random);
    plain[spec.name] = trialTensor(spec.datatype, shape, data);
    padded[spec.name] = paddedTensor(spec.datatype, shape, data, axes, paddedLength);
  }
  try {
    const [once, again, inBucket] = [await session.run(plain), await session.run(plain), await session.run(padded)];
    for (const { name, datatype } of observed.outputs) {
      const axes = buckets.outputs.filter(({ tensor }) => tensor === name);
      if (!agree(datatype, once[name] as OrtTensor, again[name] as OrtTensor)) {
        return unknown(`the output "${name}" changes from run to run`);
      }
      const detail = difference(datatype, axes, once, inBucket, name, { length, paddedLength });
      if (detail !== undefined) return { verdict: 'unsafe', detail };
    }
    return { verdict: 'safe', detail: '' };
  } catch (thrown) {
    return unknown(`a trial run failed: ${oneLine(thrown)}`);
  }
}

function trialTensor(datatype: Datatype, shape: number[], data: Uint8Array): OrtTensor {
  const { buffer } = Uint8Array.from(data);
  return tensorOver(buffer, { index: 0, datatype, shape, offset: 0, byteLength: data.length });
}

function paddedTensor(
  datatype: Datatype,
  shape: readonly number[],
  data: Uint8Array,
  axes: readonly SequenceAxis[],
  paddedLength: number,
): OrtTensor {
  const lengths = [...shape];
  let bytes = data;
  for (const { axis, padValue } of axes) {
    const element = elementOf(datatype, padValue) ?? new Uint8Array();
    bytes = padAxis(bytes, lengths, axis, paddedLength, element);
    lengths[axis] = paddedLength;
  }
  return trialTensor(datatype, lengths, bytes);
}

/** Class numbers and strings jump where scores tie; only what floats say counts. */
function agree(datatype: Datatype, a: OrtTensor, b: OrtTensor): boolean {
  if (!datatype.startsWith('FP')) return true;
  const [one, other] = [Array.from(valuesOf(a), Number), Array.from(valuesOf(b), Number)];
  const alikeFinite = one.every((value, i) => Number.isFinite(value) === Number.isFinite(other[i]));
  return alikeFinite && relativeDistance(one, other) <= sizeTolerance;
}

/** How the cut output of the padded run differs from that of the other, in words; undefined when it does not. */
function difference(
  datatype: Datatype,
  axes: readonly SequenceAxis[],
  plain: Results,
  inBucket: Results,
  name: string,
  { length, paddedLength }: { length: number; paddedLength: number },
): string | undefined {
  const expected = plain[name] as OrtTensor;
  const got = inBucket[name] as OrtTensor;
  const shape = [...got.dims];
  const wrong = axes.find(({ axis }) => shape[axis] !== paddedLength);
  const whole = shapeText(shape);
  if (wrong !== undefined) {
    return `the output "${name}" has shape ${whole} for a sequence of ${paddedLength}, so axis ${wrong.axis} is none of the sequence`;
  }
  let data = bytesOf(got);
  for (const { axis } of axes) {
    if (datatype !== 'BYTES') data = cutAxis(data, shape, axis, length, datatype);
    shape[axis] = length;
  }
  if (shapeText(shape) !== shapeText(expected.dims)) {
    return `the output "${name}" has shape ${shapeText(expected.dims)} for a sequence of ${length} and ${whole} when it is padded to ${paddedLength}`;
  }
  if (agree(datatype, expected, trialTensor(datatype, shape, data))) return undefined;
  return `the output "${name}" of a sequence of ${length} changes when it is padded to ${paddedLength}`;
}
