import { InferenceSession } from 'onnxruntime-node';
import type { Datatype } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import { type Device, deviceText, isGpu, type Provider, providerMissing } from './device.js';
import { datatypeOfOrt, isOrtType } from './ort-tensor.js';
import type { LoadRequest, ObservedModel, ObservedTensor } from './protocol.js';

export interface LoadedModel {
  readonly session: InferenceSession;
  readonly observed: ObservedModel;
}

/** What ONNX Runtime is told for a load request. */
export function sessionOptions(request: LoadRequest): InferenceSession.SessionOptions {
  const { device, session, intraOpThreads } = request;
  return {
    executionProviders: executionProviders(session.provider ?? device.provider, device),
    intraOpNumThreads: session.intraOpThreads ?? intraOpThreads,
    ...(session.interOpThreads === undefined ? {} : { interOpNumThreads: session.interOpThreads }),
    graphOptimizationLevel: session.graphOptimization ?? 'all',
    logSeverityLevel: 3,
    // Idle threads that spin would take the cores from the worker and from other instances.
    extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
  };
}

function executionProviders(provider: Provider, { ordinal }: Device): InferenceSession.ExecutionProviderConfig[] {
  switch (provider) {
    case 'cpu':
      return ['cpu'];
    case 'webgpu':
      return ['webgpu'];
    case 'cuda':
      return [{ name: 'cuda', deviceId: ordinal }];
    case 'tensorrt':
      // What TensorRT cannot take, CUDA does.
      return [
        { name: 'tensorrt', deviceId: ordinal },
        { name: 'cuda', deviceId: ordinal },
      ];
  }
}

/** How ONNX Runtime words the absence of a provider, its driver or its device. */
const absence =
  /shared library|WebGPU adapter|backend not found|no CUDA-capable|CUDA driver|libcudart|libcudnn|libnvinfer/i;

/**
 * Makes a session from the model file. Loading by path is several times cheaper than from a buffer.
 * @throws MODEL_UNLOADABLE, PROVIDER_MISSING
 */
export async function loadModel(request: LoadRequest): Promise<LoadedModel> {
  const session = await createSession(request.modelPath, request);
  const inputs = observe(session.inputMetadata, 'input');
  const outputs = observe(session.outputMetadata, 'output');
  return { session, observed: { inputs, outputs } };
}

export async function createSession(model: string | Uint8Array, request: LoadRequest): Promise<InferenceSession> {
  const options = sessionOptions(request);
  try {
    return typeof model === 'string'
      ? await InferenceSession.create(model, options)
      : await InferenceSession.create(model, options);
  } catch (thrown) {
    const text = oneLine(thrown);
    const provider = request.session.provider ?? request.device.provider;
    if (isGpu(request.device) && absence.test(text)) {
      throw providerMissing(provider, `The device ${deviceText(request.device)} cannot be used: ${text}.`);
    }
    const unsupported = /Unsupported data type: (\d+)/.exec(text)?.[1];
    if (unsupported !== undefined) {
      const type = unsupported === '16' ? 'BF16' : `ONNX element type ${unsupported}`;
      throw unloadable(
        `The model has an input or output of datatype ${type}, which ONNX Runtime for Node cannot pass.`,
      );
    }
    throw unloadable(`ONNX Runtime cannot load the model ${request.modelPath}: ${text}.`, thrown);
  }
}

type Side = 'input' | 'output';

function observe(metadata: readonly InferenceSession.ValueMetadata[], side: Side): ObservedTensor[] {
  return metadata.map((value) => {
    if (!value.isTensor) {
      throw unloadable(
        `The model's ${side} "${value.name}" is a sequence, map or optional; only tensors can be served.`,
      );
    }
    return {
      name: value.name,
      datatype: datatype(value.type, value.name, side),
      shape: value.shape.map((dim) => (typeof dim === 'string' ? -1 : dim)),
      symbols: value.shape.map((dim) => (typeof dim === 'string' ? dim : '')),
    };
  });
}

function datatype(type: string, name: string, side: Side): Datatype {
  if (isOrtType(type)) return datatypeOfOrt[type];
  throw unloadable(`The model's ${side} "${name}" has the datatype ${type}, which cannot be served.`);
}

const unloadable = (sentence: string, cause?: unknown): ShoalError =>
  new ShoalError('MODEL_UNLOADABLE', sentence, { cause });

/** An error's text on one line, without a final stop. */
export function oneLine(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.replace(/\s+/g, ' ').trim().replace(/\.$/, '');
}
