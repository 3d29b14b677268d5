import type { StatisticsSource } from '../../../coordinator/front/model-statistics.js';
import type { CancelCall, InferenceService, ServingObserver } from '../../../coordinator/serving.js';
import { type ErrorCode, isErrorCode, ShoalError } from '../../../core/errors.js';
import type { CallContext, InferOutcome, InferRequest, TimingReceipt } from '../../../core/inference.js';
import { noParameters } from '../../../core/inference.js';
import { type ModelSpec, naturalBatching } from '../../../core/model.js';
import type { ModelStatistics } from '../../../platform/oip/statistics.js';
import { createLogger, type Logger } from '../../../platform/telemetry/logger.js';

export const receipt: TimingReceipt = {
  queueUs: 12.4,
  batchWaitUs: 0,
  inputUs: 3,
  executeUs: 840,
  outputUs: 2,
  batchRows: 16,
  paddedRows: 0,
  version: '1',
  worker: 'wörker;1',
  instance: 'cpu-0',
  attempt: 1,
};

export const echoSpec: ModelSpec = {
  model: 'echo',
  version: '2',
  platform: 'onnxruntime_onnx',
  maxBatchSize: 8,
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
  outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
  batching: naturalBatching,
  buckets: undefined,
  resources: [],
  deviceWeight: 1,
  labels: {},
};

const took = (ns: number) => ({ count: 3, ns });

export const echoStatistics: ModelStatistics = {
  name: 'echo',
  version: '2',
  last_inference: 1_792_000_000_123,
  inference_count: 6,
  execution_count: 2,
  inference_stats: {
    success: took(9_000_000),
    fail: { count: 1, ns: 250 },
    queue: took(12_400),
    compute_input: took(3_000),
    // More than 32 bits.
    compute_infer: took(8_400_000_000),
    compute_output: took(2_000),
    cache_hit: { count: 0, ns: 0 },
    cache_miss: { count: 0, ns: 0 },
  },
  batch_stats: [
    { batch_size: 2, compute_input: took(1), compute_infer: took(2), compute_output: took(3) },
    { batch_size: 4, compute_input: took(4), compute_infer: took(5), compute_output: took(6) },
  ],
};

/**
 * An `InferenceService` whose answer is in the model's name: `echo` gives the inputs back, an error code is
 * thrown back, `hold` answers when told to, `throw` breaks.
 */
export class ScriptedService implements InferenceService, StatisticsSource {
  readonly seen: { request: InferRequest; context: CallContext }[] = [];
  readonly held: ((outcome: InferOutcome) => void)[] = [];
  cancels = 0;
  isReady = true;
  retryAfterMs: number | undefined;
  message = 'The request met its fate.';

  infer(request: InferRequest, context: CallContext, reply: (outcome: InferOutcome) => void): CancelCall {
    this.seen.push({ request, context });
    const { model } = request;
    if (model === 'throw') throw new TypeError('a bug in the service');
    if (model === 'hold') this.held.push(reply);
    else if (isErrorCode(model)) queueMicrotask(() => reply({ ok: false, error: this.#error(model) }));
    else if (model === 'bug') queueMicrotask(() => reply({ ok: false, error: ShoalError.from(new TypeError('oops')) }));
    else queueMicrotask(() => reply(echo(request)));
    return () => {
      this.cancels++;
    };
  }

  #error(code: ErrorCode): ShoalError {
    const { retryAfterMs } = this;
    return new ShoalError(code, this.message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }

  ready(): boolean {
    return this.isReady;
  }

  modelReady(model: string, version: string): boolean {
    this.#mustKnow(model, version);
    return this.isReady;
  }

  describe(model: string, version: string): { spec: ModelSpec; versions: readonly string[] } {
    this.#mustKnow(model, version);
    return { spec: echoSpec, versions: ['1', '2'] };
  }

  modelStatistics(model: string, version: string): readonly ModelStatistics[] {
    if (model !== '') this.#mustKnow(model, version);
    return [echoStatistics];
  }

  #mustKnow(model: string, version: string): void {
    if (model !== 'echo') throw new ShoalError('MODEL_NOT_FOUND', `There is no model '${model}'.`);
    if (version !== '' && version !== '2') {
      throw new ShoalError('VERSION_NOT_FOUND', `Model 'echo' has no version ${version}.`);
    }
  }
}

export function echo(request: InferRequest): InferOutcome {
  const outputs = request.inputs.map(({ name, datatype, shape, data }) => ({
    name: `${name}_out`,
    datatype,
    shape,
    parts: [data],
    byteLength: data.length,
  }));
  return { ok: true, response: { model: request.model, version: '2', id: request.id, outputs, receipt } };
}

export function inferRequest(model: string, overrides: Partial<InferRequest> = {}): InferRequest {
  const data = new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer);
  return {
    model,
    version: '',
    id: 'call-7',
    parameters: noParameters,
    inputs: [{ name: 'x', datatype: 'FP32', shape: [2, 2], data }],
    outputs: [],
    ...overrides,
  };
}

/** A logger that keeps its lines. */
export function keepingLogger(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  return { logger: createLogger({ level: 'info', destination: { write: (line) => void lines.push(line) } }), lines };
}

/** Remembers the codes of the requests that never reached the service. */
export class FailureLog implements Pick<ServingObserver, 'failed'> {
  readonly codes: ErrorCode[] = [];

  failed(_model: string, _version: string, code: ErrorCode): void {
    this.codes.push(code);
  }
}
