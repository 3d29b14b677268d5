import protobuf from 'protobufjs';
import { type ErrorCode, isErrorCode } from '../../core/errors.js';
import type { Batch, ToCoordinator, ToWorker } from '../../core/link.js';
import type { ScatteredTensor, Tensor } from '../../core/tensor.js';
import { protoFile } from '../package-root.js';
import { readVersion, type WireVersion, wireVersion } from './version-frames.js';
import { malformed, readDatatype, type Whole, whole } from './wire-values.js';

const root = protobuf.loadSync(protoFile('link.proto'));
const ToWorkerMessage = root.lookupType('shoal.link.v1.ToWorker');
const ToCoordinatorMessage = root.lookupType('shoal.link.v1.ToCoordinator');

const emptyBytes = new Uint8Array(0);

/** Field 15, length-delimited: see `payload` in link.proto. */
const payloadTag = (15 << 3) | 2;

export function encodeToWorker(message: ToWorker): Buffer {
  if (message.kind === 'cancel') return finish(ToWorkerMessage, { cancel: { batchId: message.batchId } }, [], 0);
  const { batch } = message;
  const execute = {
    batchId: batch.batchId,
    model: batch.model,
    version: batch.version,
    rows: batch.rows,
    inputs: batch.inputs.map((input) => tensorHeader(input, input.byteLength)),
    outputs: batch.outputs,
    // 0 says "no deadline", so a budget that ran out on the way becomes the smallest there is.
    budgetUs: batch.budgetUs === Number.POSITIVE_INFINITY ? 0 : Math.max(1, Math.round(batch.budgetUs)),
    traceparent: batch.traceparent,
    attempt: batch.attempt,
    device: batch.device,
  };
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (const input of batch.inputs) {
    bytes += input.byteLength;
    for (const part of input.parts) parts.push(part);
  }
  return finish(ToWorkerMessage, { execute }, parts, bytes);
}

/** Tensor bytes are slices of `frame`. @throws INTERNAL when the frame is not what our other end writes. */
export function decodeToWorker(frame: Buffer): ToWorker {
  const message = decode(ToWorkerMessage, frame) as unknown as {
    execute?: {
      batchId: Whole;
      model: string;
      version: string;
      rows: number;
      inputs: WireTensor[];
      outputs: string[];
      budgetUs: Whole;
      traceparent: string;
      attempt: number;
      device: string;
    };
    cancel?: { batchId: Whole };
    payload: Uint8Array;
  };
  if (message.cancel != null) return { kind: 'cancel', batchId: whole(message.cancel.batchId) };
  const { execute } = message;
  if (execute == null) throw malformed('a message without a body');
  const budgetUs = whole(execute.budgetUs);
  const batch: Batch = {
    batchId: whole(execute.batchId),
    model: execute.model,
    version: execute.version,
    rows: execute.rows,
    device: execute.device,
    inputs: slicePayload(execute.inputs, message.payload).map(scattered),
    outputs: execute.outputs,
    budgetUs: budgetUs === 0 ? Number.POSITIVE_INFINITY : budgetUs,
    traceparent: execute.traceparent,
    attempt: execute.attempt,
  };
  return { kind: 'execute', batch };
}

export function encodeToCoordinator(message: ToCoordinator): Buffer {
  switch (message.kind) {
    case 'hello': {
      const versions = message.versions.map(wireVersion);
      return finish(ToCoordinatorMessage, { hello: { ...message.worker, versions } }, [], 0);
    }
    case 'version':
      return finish(ToCoordinatorMessage, { version: wireVersion(message.status) }, [], 0);
    case 'gone':
      return finish(ToCoordinatorMessage, { gone: { model: message.model, version: message.version } }, [], 0);
    case 'draining':
      return finish(ToCoordinatorMessage, { draining: {} }, [], 0);
    case 'failure': {
      const { batchId, error, retryable } = message.failure;
      return finish(ToCoordinatorMessage, { failure: { batchId, ...error, retryable } }, [], 0);
    }
    case 'result': {
      const { batchId, instance, outputs, timing } = message.result;
      const result = {
        batchId,
        instance,
        outputs: outputs.map((output) => tensorHeader(output, output.data.length)),
        waitUs: Math.round(timing.waitUs),
        inputUs: Math.round(timing.inputUs),
        executeUs: Math.round(timing.executeUs),
        outputUs: Math.round(timing.outputUs),
      };
      const parts = outputs.map((output) => output.data);
      return finish(
        ToCoordinatorMessage,
        { result },
        parts,
        parts.reduce((sum, part) => sum + part.length, 0),
      );
    }
  }
}

/** Tensor bytes are slices of `frame`. @throws INTERNAL when the frame is not what our other end writes. */
export function decodeToCoordinator(frame: Buffer): ToCoordinator {
  const message = decode(ToCoordinatorMessage, frame) as unknown as {
    hello?: {
      workerId: string;
      devices: string[];
      softwareVersion: string;
      pid: number;
      host: string;
      pipelineDepth: number;
      versions: WireVersion[];
    };
    version?: WireVersion;
    gone?: { model: string; version: string };
    draining?: object;
    result?: {
      batchId: Whole;
      instance: string;
      outputs: WireTensor[];
      waitUs: Whole;
      inputUs: Whole;
      executeUs: Whole;
      outputUs: Whole;
    };
    failure?: { batchId: Whole; code: string; message: string; retryable: boolean };
    payload: Uint8Array;
  };
  if (message.result != null) {
    const { batchId, instance, outputs, waitUs, inputUs, executeUs, outputUs } = message.result;
    const timing = {
      waitUs: whole(waitUs),
      inputUs: whole(inputUs),
      executeUs: whole(executeUs),
      outputUs: whole(outputUs),
    };
    return {
      kind: 'result',
      result: { batchId: whole(batchId), instance, outputs: slicePayload(outputs, message.payload), timing },
    };
  }
  if (message.failure != null) {
    const { batchId, code, message: text, retryable } = message.failure;
    const known: ErrorCode = isErrorCode(code) ? code : 'INTERNAL';
    return { kind: 'failure', failure: { batchId: whole(batchId), error: { code: known, message: text }, retryable } };
  }
  if (message.version != null) return { kind: 'version', status: readVersion(message.version) };
  if (message.gone != null) return { kind: 'gone', model: message.gone.model, version: message.gone.version };
  if (message.draining != null) return { kind: 'draining' };
  if (message.hello == null) throw malformed('a message without a body');
  // Named one by one: what was left out on the wire is a default on the prototype, which a spread would miss.
  const { workerId, devices, softwareVersion, pid, host, pipelineDepth, versions } = message.hello;
  const worker = { workerId, devices, softwareVersion, pid, host, pipelineDepth };
  return { kind: 'hello', worker, versions: versions.map(readVersion) };
}

interface WireTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: Whole[];
  readonly bytes: Whole;
}

function decode(type: protobuf.Type, frame: Buffer): protobuf.Message {
  try {
    // Absent scalars and lists read as their defaults; only absent messages stay null.
    return type.decode(frame);
  } catch (thrown) {
    throw malformed(`bytes that are no ${type.name} (${thrown instanceof Error ? thrown.message : thrown})`);
  }
}

const tensorHeader = (tensor: Tensor | ScatteredTensor, bytes: number) => ({
  name: tensor.name,
  datatype: tensor.datatype,
  shape: tensor.shape,
  bytes,
});

/** The small part as protobuf, then the payload field, its bytes copied exactly once. */
function finish(type: protobuf.Type, body: object, parts: readonly Uint8Array[], payloadBytes: number): Buffer {
  const head = type.encode(type.create(body)).finish();
  if (payloadBytes === 0) return head as Buffer;
  const length = varint(payloadBytes);
  const frame = Buffer.allocUnsafe(head.length + 1 + length.length + payloadBytes);
  frame.set(head, 0);
  let at = head.length;
  frame[at++] = payloadTag;
  frame.set(length, at);
  at += length.length;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

function slicePayload(headers: readonly WireTensor[], wirePayload: Uint8Array): Tensor[] {
  // protobufjs gives an absent bytes field as a plain empty array.
  const payload = wirePayload.length === 0 ? emptyBytes : wirePayload;
  let at = 0;
  const tensors = headers.map(({ name, datatype, shape, bytes }) => {
    const end = at + whole(bytes);
    const data = payload.subarray(at, end);
    at = end;
    return { name, datatype: readDatatype(datatype), shape: shape.map(whole), data };
  });
  if (at !== payload.length) throw malformed(`${payload.length} payload bytes where its tensors take ${at}`);
  return tensors;
}

const scattered = ({ data, ...rest }: Tensor): ScatteredTensor => ({ ...rest, parts: [data], byteLength: data.length });
