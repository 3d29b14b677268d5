import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { InferResponse, Parameters } from '../../../core/inference.js';
import { decodeInferResponse, encodeInferResponse } from '../../../platform/oip/response.js';
import {
  allDatatypes,
  contentsOf,
  mapValues,
  parameterMessage,
  parameterParsed,
  parametersArbitrary,
  parse,
  rawBytes,
  type SampleTensor,
  serialise,
  tensorOf,
  typedDatatypes,
} from './generated.js';

const receipt = {
  queueUs: 1,
  batchWaitUs: 0,
  inputUs: 2,
  executeUs: 3,
  outputUs: 4,
  batchRows: 5,
  paddedRows: 0,
  version: '1',
  worker: 'w',
  instance: 'i',
  attempt: 1,
};

/** The tensor's bytes cut at arbitrary places, as rows that come from several batches. */
function scattered(tensor: SampleTensor, cuts: readonly number[]): InferResponse['outputs'][number] {
  const bytes = rawBytes(tensor);
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  const parts = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
  return { name: tensor.name, datatype: tensor.datatype, shape: tensor.shape, parts, byteLength: bytes.length };
}

const text = fc.string({ unit: 'grapheme', maxLength: 30 });
const answer = fc.record({
  model: text,
  version: text,
  id: text,
  parameters: parametersArbitrary,
  tensors: fc.array(tensorOf(allDatatypes), { maxLength: 4 }),
  cuts: fc.array(fc.nat(), { maxLength: 4 }),
});

const plain = (parameters: Parameters): object => mapValues(parameters, (value) => value);

describe('encodeInferResponse', () => {
  it('writes what protobufjs and we ourselves read back', () => {
    fc.assert(
      fc.property(answer, ({ model, version, id, parameters, tensors, cuts }) => {
        const outputs = tensors.map((tensor) => scattered(tensor, cuts));
        const message = encodeInferResponse({ model, version, id, outputs, receipt }, parameters);
        const parsed = parse('ModelInferResponse', message);
        expect(parsed).toMatchObject({ model_name: model, model_version: version });
        expect(parsed.id).toBe(id);
        const parsedParameters = parsed.parameters as Record<string, Record<string, unknown>>;
        expect(mapValues(parsedParameters, parameterParsed)).toEqual(parameters);
        const heads = parsed.outputs as { name: string; datatype: string; shape: string[] }[];
        expect(heads.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map(Number) }))).toEqual(
          tensors.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
        );
        expect((parsed.raw_output_contents as Uint8Array[]).map((raw) => Buffer.from(raw))).toEqual(
          tensors.map(rawBytes),
        );

        const decoded = decodeInferResponse(message);
        expect(decoded).toMatchObject({ model, version, id });
        expect(plain(decoded.parameters)).toEqual(parameters);
        expect(decoded.outputs.map((output) => Buffer.from(output.data))).toEqual(tensors.map(rawBytes));
      }),
    );
  });

  it('refuses parts that do not add up to the length announced', () => {
    const output = { name: 'y', datatype: 'UINT8', shape: [3], parts: [new Uint8Array(2)], byteLength: 3 } as const;
    const response = { model: 'm', version: '1', id: '', outputs: [output], receipt };
    expect(() => encodeInferResponse(response)).toThrow('a message is as long as it was computed to be');
  });
});

describe('decodeInferResponse', () => {
  it('reads typed answers of other servers', () => {
    fc.assert(
      fc.property(fc.array(tensorOf(typedDatatypes), { maxLength: 4 }), fc.boolean(), (tensors, isPacked) => {
        const outputs = tensors.map((tensor) => ({
          name: tensor.name,
          datatype: tensor.datatype,
          shape: tensor.shape,
          contents: contentsOf(tensor),
          parameters: { note: parameterMessage(true) },
        }));
        const decoded = decodeInferResponse(serialise('ModelInferResponse', { outputs }, isPacked));
        expect(decoded.outputs.map((output) => Buffer.from(output.data))).toEqual(tensors.map(rawBytes));
        expect(decoded.outputs.map(({ name, shape }) => ({ name, shape }))).toEqual(
          tensors.map(({ name, shape }) => ({ name, shape })),
        );
      }),
    );
  });

  it('says that it is the response which is broken', () => {
    const message = serialise('ModelInferResponse', { outputs: [{ name: 'y', datatype: 'FP32', shape: [2] }] });
    expect(() => decodeInferResponse(message)).toThrow(
      expect.objectContaining({
        code: 'INTERNAL',
        message: "Output 'y' has no data: neither contents nor raw_output_contents.",
      }),
    );
    expect(() => decodeInferResponse(Buffer.from('2a05', 'hex'))).toThrow(
      expect.objectContaining({
        code: 'INTERNAL',
        message: 'The response is not a valid protobuf message: a length of 5 where 0 bytes are left at byte 1.',
      }),
    );
  });
});
