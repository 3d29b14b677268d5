import { type InferResponse, noParameters, type Parameters } from '../../core/inference.js';
import type { Tensor } from '../../core/tensor.js';
import { maxTensors } from './limits.js';
import { WireReader } from './wire.js';
import { type ParameterMap, parametersBytes, readParameter, writeParameters } from './wire-parameters.js';
import { attachRaw, readTensor, tensorHeadBytes, type WireTensor, writeTensorHead } from './wire-tensor.js';
import { delimitedBytes, textFieldBytes, WireWriter } from './wire-writer.js';

/**
 * Writes a `ModelInferResponse` with raw contents: one allocation, one copy of the tensor parts.
 * `parameters` go beside the outputs; the receipt is not written unless the caller put it there.
 */
export function encodeInferResponse(response: InferResponse, parameters: Parameters = noParameters): Buffer {
  const { outputs } = response;
  let size = textFieldBytes(response.model) + textFieldBytes(response.version) + textFieldBytes(response.id);
  size += parametersBytes(parameters);
  for (const output of outputs) {
    size += delimitedBytes(tensorHeadBytes(output)) + delimitedBytes(output.byteLength);
  }

  const writer = new WireWriter(size);
  writer.textField(0x0a, response.model);
  writer.textField(0x12, response.version);
  writer.textField(0x1a, response.id);
  writeParameters(writer, 0x22, parameters);
  for (const output of outputs) writeTensorHead(writer, 0x2a, output, tensorHeadBytes(output));
  for (const output of outputs) {
    writer.byte(0x32);
    writer.varint(output.byteLength);
    for (const part of output.parts) writer.raw(part);
  }
  return writer.finish();
}

/** An answer as a client sees it. */
export interface DecodedResponse {
  readonly model: string;
  readonly version: string;
  readonly id: string;
  readonly parameters: Parameters;
  readonly outputs: readonly Tensor[];
}

/**
 * Reads a `ModelInferResponse` of any server, raw or typed. Tensor data are slices of `bytes` where they can be.
 * @throws INTERNAL when the server's message is broken
 */
export function decodeInferResponse(bytes: Buffer): DecodedResponse {
  const reader = new WireReader(bytes, 'response');
  const outputs: WireTensor[] = [];
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
        if (outputs.length === maxTensors) reader.refuse(`The response has more than ${maxTensors} outputs.`);
        outputs.push(readTensor(reader));
        break;
      case 0x32:
        if (raw.length === maxTensors) reader.refuse(`The response has more than ${maxTensors} raw_output_contents.`);
        raw.push(reader.slice());
        break;
      default:
        reader.skip(tag, 6);
    }
  }
  const tensors = attachRaw(reader, outputs, raw);
  return { model, version, id, parameters: parameters ?? noParameters, outputs: tensors };
}
