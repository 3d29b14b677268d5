import { ShoalError } from '../../core/errors.js';
import type { ModelSpec } from '../../core/model.js';
import { shapeText, type TensorSpec } from '../../core/tensor.js';
import { type NamedAxes, resolveBuckets } from './resolve-buckets.js';
import { configDatatype } from './tensor-config.js';
import type { VersionPlan } from './version-plan.js';

/** What a session reports of one tensor: a free dimension is -1, `symbols[i]` its name, empty when it has none. */
export type ObservedTensor = TensorSpec & { readonly symbols?: readonly string[] };

/** Rows per execution of a model that can batch and whose configuration does not say how many. */
export const inferredMaxBatchSize = 32;

/**
 * The signature that a version serves: what its config.pbtxt declares, held against what ONNX Runtime found in the
 * model. The order of tensors is the model's; what the configuration leaves out is the model's.
 *
 * Without `max_batch_size` batching is inferred: every input and output must have a free first dimension, and none
 * of the names of those dimensions may differ (a model where `batch` comes in and `selected` comes out does not keep
 * rows apart). `batchingInferred` says that this happened, for whoever wants to probe that rows are independent.
 * @throws MODEL_UNLOADABLE with what was declared and what the model has
 */
export function resolveSpec(
  plan: VersionPlan,
  observed: { readonly inputs: readonly ObservedTensor[]; readonly outputs: readonly ObservedTensor[] },
): { spec: ModelSpec; batchingInferred: boolean; warnings: string[] } {
  const warnings: string[] = [];
  const where = `model '${plan.model}', version ${plan.version}`;
  const declaredBatching = plan.maxBatchSize !== undefined && plan.maxBatchSize > 0;
  if (declaredBatching) requireBatchAxis(plan, observed, where);
  const inputs = mergeTensors('input', plan, plan.inputs, observed.inputs, where);
  const outputs = mergeTensors('output', plan, plan.outputs, observed.outputs, where);

  let batchingInferred = false;
  if (plan.maxBatchSize === undefined) {
    const obstacle = batchingObstacle(inputs, outputs, observed);
    batchingInferred = obstacle === undefined;
    if (obstacle !== undefined) warnings.push(`${where} is served one request at a time: ${obstacle}.`);
  }
  const maxBatchSize = plan.maxBatchSize ?? (batchingInferred ? inferredMaxBatchSize : 0);
  const preferredRows = plan.batching.preferredRows.filter((rows) => rows <= maxBatchSize);
  if (preferredRows.length < plan.batching.preferredRows.length) {
    warnings.push(`${where}: preferred_batch_size above max_batch_size, which is ${maxBatchSize}, has no effect.`);
  }
  if (plan.buckets !== undefined && maxBatchSize === 0) {
    warnings.push(`${where}: the parameter 'sequence_buckets' has no effect, because requests are not batched.`);
  }
  const buckets =
    maxBatchSize === 0
      ? undefined
      : resolveBuckets(plan, named(inputs, observed.inputs), named(outputs, observed.outputs), where, warnings);
  checkWarmup(plan, inputs, where);
  checkLabels(plan, outputs, where, warnings);
  const spec: ModelSpec = {
    model: plan.model,
    version: plan.version,
    platform: plan.platform,
    maxBatchSize,
    inputs,
    outputs,
    batching: { ...plan.batching, preferredRows },
    buckets,
    resources: plan.resources,
    deviceWeight: plan.deviceWeight,
    labels: plan.labels,
  };
  return { spec, batchingInferred, warnings };
}

const unloadable = (sentence: string): ShoalError => new ShoalError('MODEL_UNLOADABLE', sentence);

/** Specs are in the observed order. */
const named = (specs: readonly TensorSpec[], observed: readonly ObservedTensor[]): NamedAxes[] =>
  specs.map((spec, i) => ({ ...spec, symbols: observed[i]?.symbols ?? [] }));

type Observed = Parameters<typeof resolveSpec>[1];

/** All tensors with the word for what each is. */
const sides = ({ inputs, outputs }: Observed) =>
  [
    ['input', inputs],
    ['output', outputs],
  ] as const;

function requireBatchAxis(plan: VersionPlan, observed: Observed, where: string): void {
  for (const [side, tensors] of sides(observed)) {
    const fixed = tensors.find((tensor) => tensor.shape[0] !== -1);
    if (fixed === undefined) continue;
    throw unloadable(
      `max_batch_size of ${where} is ${plan.maxBatchSize}, so the first dimension of every tensor must be free, ` +
        `but ${side} '${fixed.name}' of the model has the shape ${shapeText(fixed.shape)}; ` +
        'set max_batch_size to 0 to serve it one request at a time.',
    );
  }
}

function mergeTensors(
  side: 'input' | 'output',
  plan: VersionPlan,
  declared: readonly TensorSpec[],
  observed: readonly ObservedTensor[],
  where: string,
): TensorSpec[] {
  const stranger = declared.find((spec) => !observed.some((tensor) => tensor.name === spec.name));
  const namedInLabels = side === 'output' ? Object.keys(plan.labels) : [];
  const unknown = stranger?.name ?? namedInLabels.find((name) => !observed.some((tensor) => tensor.name === name));
  if (unknown !== undefined) {
    const names = observed.map((tensor) => `'${tensor.name}'`).join(', ');
    throw unloadable(
      `config.pbtxt of ${where} declares the ${side} '${unknown}', but the model's ${side}s are ${names || 'none'}.`,
    );
  }
  return observed.map(({ name, datatype, shape }) => {
    const spec = declared.find((candidate) => candidate.name === name);
    if (spec === undefined) return { name, datatype, shape };
    if (spec.datatype !== datatype) {
      throw unloadable(
        `config.pbtxt of ${where} declares ${side} '${name}' as ${configDatatype(spec.datatype)}, ` +
          `but the model has ${configDatatype(datatype)}.`,
      );
    }
    return { name, datatype, shape: mergeShape(side, name, plan, spec.shape, shape, where) };
  });
}

/** The narrower of two shapes, dimension by dimension. */
function mergeShape(
  side: string,
  name: string,
  plan: VersionPlan,
  dims: readonly number[],
  observed: readonly number[],
  where: string,
): number[] {
  const batched = plan.maxBatchSize !== undefined && plan.maxBatchSize > 0;
  const declared = batched ? [-1, ...dims] : dims;
  const agrees =
    declared.length === observed.length &&
    declared.every((dim, axis) => dim === -1 || observed[axis] === -1 || dim === observed[axis]);
  if (!agrees) {
    const axis = batched ? ' (behind the batch axis)' : '';
    const got = batched ? observed.slice(1) : observed;
    const forgotten = plan.maxBatchSize === undefined && declared.length === observed.length - 1;
    const hint = forgotten ? ' Give max_batch_size, or list the batch axis among the dims.' : '';
    throw unloadable(
      `config.pbtxt of ${where} declares ${side} '${name}' with dims ${shapeText(dims)}, ` +
        `but the model has ${shapeText(got)}${axis}.${hint}`,
    );
  }
  return observed.map((dim, axis) => (dim === -1 ? (declared[axis] ?? -1) : dim));
}

/** Why rows of several requests cannot be put together; undefined when they can. */
function batchingObstacle(
  inputs: readonly TensorSpec[],
  outputs: readonly TensorSpec[],
  observed: Observed,
): string | undefined {
  if (inputs.length === 0) return 'it has no inputs';
  for (const [side, tensors] of sides({ inputs, outputs })) {
    const fixed = tensors.find((tensor) => tensor.shape[0] !== -1);
    if (fixed !== undefined) {
      return `${side} '${fixed.name}' has the shape ${shapeText(fixed.shape)}, whose first dimension is not free`;
    }
  }
  let first: { name: string; symbol: string } | undefined;
  for (const [, tensors] of sides(observed)) {
    for (const { name, symbols } of tensors) {
      const symbol = symbols?.[0] ?? '';
      if (symbol === '') continue;
      if (first !== undefined && first.symbol !== symbol) {
        return (
          `the first dimension of '${first.name}' is called '${first.symbol}' and that of '${name}' '${symbol}'; ` +
          'give max_batch_size if both count rows'
        );
      }
      first ??= { name, symbol };
    }
  }
  return undefined;
}

function checkWarmup(plan: VersionPlan, inputs: readonly TensorSpec[], where: string): void {
  for (const sample of plan.warmup) {
    const refuse = (sentence: string) => unloadable(`Warm-up sample '${sample.name}' of ${where} ${sentence}.`);
    for (const { spec } of sample.inputs) {
      const input = inputs.find((candidate) => candidate.name === spec.name);
      if (input === undefined) throw refuse(`gives the input '${spec.name}', which the model does not have`);
      if (input.datatype !== spec.datatype) {
        const [got, expected] = [configDatatype(spec.datatype), configDatatype(input.datatype)];
        throw refuse(`gives input '${spec.name}' as ${got}, but the model has ${expected}`);
      }
      const fits =
        spec.shape.length === input.shape.length &&
        spec.shape.every((dim, axis) => input.shape[axis] === -1 || input.shape[axis] === dim);
      if (!fits) {
        const [got, expected] = [shapeText(spec.shape), shapeText(input.shape)];
        throw refuse(`gives input '${spec.name}' the shape ${got}, but the model has ${expected}`);
      }
    }
    const missing = inputs.find((input) => !sample.inputs.some(({ spec }) => spec.name === input.name));
    if (missing !== undefined) throw refuse(`lacks the input '${missing.name}'`);
  }
}

function checkLabels(plan: VersionPlan, outputs: readonly TensorSpec[], where: string, warnings: string[]): void {
  for (const output of outputs) {
    const labels = plan.labels[output.name];
    const classes = output.shape.at(-1);
    if (labels === undefined || classes === undefined || classes === -1 || labels.length === classes) continue;
    warnings.push(`${where}: output '${output.name}' has ${classes} classes, but ${labels.length} labels.`);
  }
}
