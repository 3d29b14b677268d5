import { isDatatype } from '../core/datatype.js';
import { ShoalError } from '../core/errors.js';
import { noParameters } from '../core/inference.js';
import type { Random } from '../core/random.js';
import type { TensorSpec } from '../core/tensor.js';
import { OipClient } from '../platform/oip/client.js';
import { encodeInferRequest } from '../platform/oip/request.js';
import { decodeInferResponse } from '../platform/oip/response.js';
import type { TensorMetadata } from '../platform/oip/service.js';
import { type InputPlan, makeInputs } from './inputs.js';
import type { Payload } from './plan.js';

/** How long one request may take before the load has begun: a cold server may still be loading the model. */
const trialTimeoutMs = 30_000;
const connectTimeoutMs = 3_000;

export interface Target {
  readonly server: string;
  readonly model: string;
  /** Empty: the server chooses. */
  readonly version: string;
}

export interface TargetModel {
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

/**
 * The model's signature in the server's own words.
 * @throws MODEL_NOT_READY when nobody listens, MODEL_NOT_FOUND, UNSUPPORTED for a datatype we do not know
 */
export async function describeTarget(target: Target): Promise<TargetModel> {
  const client = new OipClient(target.server);
  try {
    await client.connected(connectTimeoutMs);
    const metadata = await client.modelMetadata(target.model, target.version, { timeoutMs: trialTimeoutMs });
    return { inputs: metadata.inputs.map(tensorSpec), outputs: metadata.outputs.map(tensorSpec) };
  } finally {
    client.close();
  }
}

function tensorSpec({ name, datatype, shape }: TensorMetadata): TensorSpec {
  if (!isDatatype(datatype)) throw new ShoalError('UNSUPPORTED', `Tensor "${name}" has the unknown type ${datatype}.`);
  return { name, datatype, shape };
}

/** `count` different requests of each shape, serialised; the shapes in turn. */
export function makePayloads(
  target: Target,
  shapes: readonly InputPlan[],
  count: number,
  random: Random,
): readonly Payload[] {
  return Array.from({ length: count }, (_, i) =>
    shapes.map((plan) => ({
      body: encodeInferRequest({
        model: target.model,
        version: target.version,
        id: '',
        parameters: noParameters,
        inputs: makeInputs(plan, i, random),
        outputs: [],
      }),
      expected: undefined,
    })),
  ).flat();
}

/**
 * Sends requests one at a time before the load begins: the first of each shape alone, to meet a mistake now and not
 * ten thousand times; with `keepAnswers` all of them, and keeps what each was answered.
 * @throws what the server answered, when that is an error
 */
export async function tryPayloads(
  target: Target,
  payloads: readonly Payload[],
  shapes: number,
  keepAnswers: boolean,
): Promise<readonly Payload[]> {
  const client = new OipClient(target.server);
  try {
    const tried: Payload[] = [];
    for (const payload of keepAnswers ? payloads : payloads.slice(0, shapes)) {
      const answer = await client.inferEncoded(payload.body, { timeoutMs: trialTimeoutMs });
      tried.push({ ...payload, expected: decodeInferResponse(answer).outputs });
    }
    return keepAnswers ? tried : payloads;
  } finally {
    client.close();
  }
}
