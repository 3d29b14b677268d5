import { ShoalError } from '../../core/errors.js';
import type { SequenceAxis, SequenceBuckets } from '../../core/model.js';
import { elementOf } from '../../core/padding.js';
import { shapeText, type TensorSpec } from '../../core/tensor.js';
import { configDatatype } from './tensor-config.js';
import type { DeclaredSequenceAxis, VersionPlan } from './version-plan.js';

/** A tensor of the version, with the names of its free dimensions where the model gives them. */
export type NamedAxes = TensorSpec & { readonly symbols: readonly string[] };

/**
 * The declared sequence axes, held against the version's tensors. A tensor with a free axis of the same name as one
 * of them, which is not among them, is warned of: it would not be padded (or cut) with the others.
 * @throws MODEL_UNLOADABLE with the entry and what the model has
 */
export function resolveBuckets(
  plan: VersionPlan,
  inputs: readonly NamedAxes[],
  outputs: readonly NamedAxes[],
  where: string,
  warnings: string[],
): SequenceBuckets | undefined {
  if (plan.buckets === undefined) return undefined;
  const { lengths, axes } = plan.buckets;
  const resolved: { inputs: SequenceAxis[]; outputs: SequenceAxis[] } = { inputs: [], outputs: [] };
  const symbols = new Set<string>();
  for (const entry of axes) {
    const { tensor, axis, padValue } = entry;
    const refuse = (sentence: string) =>
      new ShoalError('MODEL_UNLOADABLE', `The parameter 'sequence_axes' of ${where} ${sentence}.`);
    const spec = specOf(entry, inputs, outputs, refuse);
    const side = padValue === undefined ? 'output' : 'input';
    if (axis >= spec.shape.length || spec.shape[axis] !== -1) {
      throw refuse(
        `names axis ${axis} of the ${side} '${tensor}', which must be free, but the shape is ${shapeText(spec.shape)}`,
      );
    }
    if (spec.datatype === 'BYTES') throw refuse(`names the ${side} '${tensor}', but strings cannot be padded`);
    if (padValue !== undefined && elementOf(spec.datatype, padValue) === undefined) {
      throw refuse(`pads the input '${tensor}' with ${padValue}, which ${configDatatype(spec.datatype)} cannot hold`);
    }
    const other = resolved.inputs.find((earlier) => padValue !== undefined && earlier.tensor === tensor);
    if (other !== undefined && other.padValue !== padValue) {
      throw refuse(`pads the input '${tensor}' with ${other.padValue} and with ${padValue}: give one value`);
    }
    symbols.add(spec.symbols[axis] ?? '');
    (padValue === undefined ? resolved.outputs : resolved.inputs).push({ tensor, axis, padValue: padValue ?? 0 });
  }
  symbols.delete('');
  for (const [side, specs, declared] of [
    ['input', inputs, resolved.inputs],
    ['output', outputs, resolved.outputs],
  ] as const) {
    for (const { name, axis, symbol } of undeclared(specs, declared, symbols)) {
      warnings.push(
        `${where}: axis ${axis} of the ${side} '${name}' is called '${symbol}' like a sequence axis, but 'sequence_axes' leaves it out.`,
      );
    }
  }
  return { lengths, ...resolved };
}

function specOf(
  { tensor, padValue }: DeclaredSequenceAxis,
  inputs: readonly NamedAxes[],
  outputs: readonly NamedAxes[],
  refuse: (sentence: string) => ShoalError,
): NamedAxes {
  const input = inputs.find(({ name }) => name === tensor);
  const output = outputs.find(({ name }) => name === tensor);
  const spec = padValue === undefined ? output : input;
  if (spec !== undefined) return spec;
  if (input !== undefined) throw refuse(`must say what the input '${tensor}' is padded with, as in '${tensor}:1=0'`);
  if (output !== undefined) throw refuse(`pads '${tensor}', which is an output: leave the '=' out`);
  const names = [...inputs, ...outputs].map(({ name }) => `'${name}'`).join(', ');
  throw refuse(`names '${tensor}', but the model's tensors are ${names}`);
}

function* undeclared(specs: readonly NamedAxes[], declared: readonly SequenceAxis[], symbols: ReadonlySet<string>) {
  for (const { name, shape, symbols: own } of specs) {
    for (const [axis, symbol] of own.entries()) {
      if (axis === 0 || shape[axis] !== -1 || !symbols.has(symbol)) continue;
      if (!declared.some((entry) => entry.tensor === name && entry.axis === axis)) yield { name, axis, symbol };
    }
  }
}
