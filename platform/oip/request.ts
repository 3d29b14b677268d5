import { type InferRequest, noParameters, type RequestedOutput } from '../../core/inference.js';
import { maxTensors } from './limits.js';
import { quoted, refuseSharedMemory } from './tensor-checks.js';
import { WireReader } from './wire.js';
import { type ParameterMap, parametersBytes, readParameter, writeParameters } from './wire-parameters.js';
import { attachRaw, readTensor, tensorHeadBytes, type WireTensor, writeTensorHead } from './wire-tensor.js';
import { delimitedBytes, textFieldBytes, WireWriter } from './wire-writer.js';

/**
 * Reads a `ModelInferRequest`. Tensor data are slices of `bytes`, which must not be changed afterwards; only
 * typed contents that are varints or byte strings are rewritten into new buffers.
 *
 * Fields may come in any order; of a field that comes twice the last counts. Not checked here: whether the
 * byte length of raw data fits the shape, and anything that needs the model's signature.
 * @throws INVALID_REQUEST for bytes that are not protobuf (with the offset) or tensors that contradict
 * themselves (with the input's name); UNSUPPORTED for tensors in shared memory
 */
export function decodeInferRequest(bytes: Buffer): InferRequest {
  const reader = new WireReader(bytes, 'request');
  const inputs: WireTensor[] = [];
  const outputs: RequestedOutput[] = [];
  const raw: Uint8Array[] = [];
  let model = '';
  let version = '';
  let id = '';
  let parameters: ParameterMap | undefined;
  while (reader.at < reader.end) {
    const tag = reader.tag();
    switch (tag) {
      case 0x0a:
        model = reader.name();
        break;
      case 0x12:
        version = reader.name();
        break;
      case 0x1a:
        id = reader.text();
        break;
      case 0x22:
        parameters = readParameter(reader, parameters);
        break;
      case 0x2a:
        if (inputs.length === maxTensors) refuseCount(reader, 'inputs');
        inputs.push(readTensor(reader));
        break;
      case 0x32:
        if (outputs.length === maxTensors) refuseCount(reader, 'requested outputs');
        outputs.push(readRequestedOutput(reader));
        break;
      case 0x3a:
        if (raw.length === maxTensors) refuseCount(reader, 'raw_input_contents');
        raw.push(reader.slice());
        break;
      default:
        reader.skip(tag, 7);
    }
  }
  return {
    model,
    version,
    id,
    parameters: parameters ?? noParameters,
    inputs: attachRaw(reader, inputs, raw),
    outputs,
  };
}

function refuseCount(reader: WireReader, what: string): never {
  reader.refuse(`The request has more than ${maxTensors} ${what}.`);
}

function readRequestedOutput(reader: WireReader): RequestedOutput {
  const outer = reader.enter();
  let name = '';
  let parameters: ParameterMap | undefined;
  while (reader.at < reader.end) {
    const tag = reader.tag();
    if (tag === 0x0a) name = reader.name();
    else if (tag === 0x12) parameters = readParameter(reader, parameters);
    else reader.skip(tag, 2);
  }
  reader.leave(outer);
  if (parameters !== undefined) refuseSharedMemory(`Output ${quoted(name)}`, parameters);
  return { name, parameters: parameters ?? noParameters };
}

const requestedOutputBytes = (output: RequestedOutput): number =>
  textFieldBytes(output.name) + parametersBytes(output.parameters);

/** Writes a `ModelInferRequest` with raw contents: one allocation, one copy of the tensor bytes. */
export function encodeInferRequest(request: InferRequest): Buffer {
  let size = textFieldBytes(request.model) + textFieldBytes(request.version) + textFieldBytes(request.id);
  size += parametersBytes(request.parameters);
  for (const input of request.inputs) {
    size += delimitedBytes(tensorHeadBytes(input)) + delimitedBytes(input.data.length);
  }
  for (const output of request.outputs) size += delimitedBytes(requestedOutputBytes(output));

  const writer = new WireWriter(size);
  writer.textField(0x0a, request.model);
  writer.textField(0x12, request.version);
  writer.textField(0x1a, request.id);
  writeParameters(writer, 0x22, request.parameters);
  for (const input of request.inputs) writeTensorHead(writer, 0x2a, input, tensorHeadBytes(input));
  for (const output of request.outputs) {
    writer.byte(0x32);
    writer.varint(requestedOutputBytes(output));
    writer.textField(0x0a, output.name);
    writeParameters(writer, 0x12, output.parameters);
  }
  for (const input of request.inputs) {
    writer.byte(0x3a);
    writer.varint(input.data.length);
    writer.raw(input.data);
  }
  return writer.finish();
}
