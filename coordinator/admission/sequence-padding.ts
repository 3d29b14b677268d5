import { ShoalError } from '../../core/errors.js';
import type { ModelSpec, SequenceAxis } from '../../core/model.js';
import type { Tensor } from '../../core/tensor.js';

/** How long a request's sequences are, and how long in a batch. Equal where nothing has to be padded. */
export interface SequencePadding {
  readonly length: number;
  readonly paddedLength: number;
}

/** The declared sequence axes of one version, where they are looked for. */
export interface SequenceAxes {
  /** One entry an input of the signature; empty for an input without a sequence. */
  readonly inputs: readonly (readonly SequenceAxis[])[];
  readonly outputs: ReadonlyMap<string, readonly SequenceAxis[]>;
}

const axesBySpec = new WeakMap<ModelSpec, SequenceAxes>();

export function sequenceAxes(spec: ModelSpec): SequenceAxes {
  let axes = axesBySpec.get(spec);
  if (axes === undefined) {
    const { inputs = [], outputs = [] } = spec.buckets ?? {};
    axes = {
      inputs: spec.inputs.map(({ name }) => inputs.filter(({ tensor }) => tensor === name)),
      outputs: new Map(outputs.map(({ tensor }) => [tensor, outputs.filter((axis) => axis.tensor === tensor)])),
    };
    axesBySpec.set(spec, axes);
  }
  return axes;
}

/**
 * The padding of a request whose inputs fit the signature, in its order; undefined for a version without buckets.
 * A sequence longer than the largest bucket keeps its length.
 * @throws INVALID_REQUEST when its sequence axes are of different length: then no length is that of the sequence
 */
export function sequencePadding(spec: ModelSpec, inputs: readonly Tensor[]): SequencePadding | undefined {
  if (spec.buckets === undefined) return undefined;
  const axes = sequenceAxes(spec).inputs;
  let first: SequenceAxis | undefined;
  let length = 0;
  for (let i = 0; i < inputs.length; i++) {
    const { shape } = inputs[i] as Tensor;
    for (const entry of axes[i] ?? []) {
      const entries = shape[entry.axis] as number;
      if (first === undefined) {
        first = entry;
        length = entries;
      } else if (entries !== length) {
        throw new ShoalError(
          'INVALID_REQUEST',
          `Inputs of model '${spec.model}' disagree on the length of the sequence: '${first.tensor}' has ${length} along axis ${first.axis}, '${entry.tensor}' has ${entries} along axis ${entry.axis}.`,
        );
      }
    }
  }
  return { length, paddedLength: spec.buckets.lengths.find((bucket) => bucket >= length) ?? length };
}

/** A shape with the padded length along the sequence axes; the shape itself when there are none. */
export function paddedShape(
  shape: readonly number[],
  axes: readonly SequenceAxis[],
  paddedLength: number,
): readonly number[] {
  if (axes.length === 0) return shape;
  const padded = [...shape];
  for (const { axis } of axes) padded[axis] = paddedLength;
  return padded;
}
