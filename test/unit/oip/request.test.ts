import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import type { InferRequest } from '../../../core/inference.js';
import { seededRandom } from '../../../core/random.js';
import { decodeInferRequest, encodeInferRequest } from '../../../platform/oip/request.js';
import {
  allDatatypes,
  contentsOf,
  field,
  mapValues,
  parameterMessage,
  parameterParsed,
  parametersArbitrary,
  parse,
  rawBytes,
  type SampleTensor,
  scrambled,
  serialise,
  tensorOf,
  typedDatatypes,
} from './generated.js';

const text = fc.string({ unit: 'grapheme', maxLength: 30 });
const head = fc.record({
  model_name: text,
  model_version: text,
  id: fc.oneof(text, fc.string({ minLength: 100, maxLength: 200 })),
  parameters: parametersArbitrary,
  outputs: fc.array(fc.record({ name: text, parameters: parametersArbitrary }), { maxLength: 3 }),
});
type Head = typeof head extends fc.Arbitrary<infer T> ? T : never;

const headMessage = ({ parameters, outputs, ...rest }: Head): object => ({
  ...rest,
  parameters: mapValues(parameters, parameterMessage),
  outputs: outputs.map((output) => ({ ...output, parameters: mapValues(output.parameters, parameterMessage) })),
});

const tensorMessage = ({ name, datatype, shape }: SampleTensor): object => ({ name, datatype, shape });

function expectRequest(decoded: InferRequest, expected: Head, tensors: readonly SampleTensor[]): void {
  expect(decoded.model).toBe(expected.model_name);
  expect(decoded.version).toBe(expected.model_version);
  expect(decoded.id).toBe(expected.id);
  expect(mapValues(decoded.parameters, (value) => value)).toEqual(expected.parameters);
  expect(
    decoded.outputs.map(({ name, parameters }) => ({ name, parameters: mapValues(parameters, (v) => v) })),
  ).toEqual(expected.outputs);
  expect(decoded.inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape }))).toEqual(
    tensors.map(tensorMessage),
  );
  decoded.inputs.forEach((input, i) => {
    const tensor = tensors[i];
    expect(tensor && Buffer.compare(input.data, rawBytes(tensor)), `bytes of input ${i}`).toBe(0);
  });
}

const isSliceOf = (data: Uint8Array, message: Buffer): boolean =>
  data.buffer === message.buffer &&
  data.byteOffset >= message.byteOffset &&
  data.byteOffset + data.length <= message.byteOffset + message.length;

describe('decodeInferRequest', () => {
  it('reads what protobufjs writes, raw, in every datatype, without copying tensors', () => {
    fc.assert(
      fc.property(
        head,
        fc.array(tensorOf(allDatatypes), { maxLength: 4 }),
        fc.boolean(),
        (expected, tensors, isPacked) => {
          const message = serialise(
            'ModelInferRequest',
            { ...headMessage(expected), inputs: tensors.map(tensorMessage), raw_input_contents: tensors.map(rawBytes) },
            isPacked,
          );
          const decoded = decodeInferRequest(message);
          expectRequest(decoded, expected, tensors);
          for (const input of decoded.inputs) expect(isSliceOf(input.data, message)).toBe(true);
        },
      ),
    );
  });

  it('reads what protobufjs writes, typed, packed and unpacked', () => {
    fc.assert(
      fc.property(
        head,
        fc.array(tensorOf(typedDatatypes), { maxLength: 4 }),
        fc.boolean(),
        (expected, tensors, isPacked) => {
          const inputs = tensors.map((tensor) => ({ ...tensorMessage(tensor), contents: contentsOf(tensor) }));
          const message = serialise('ModelInferRequest', { ...headMessage(expected), inputs }, isPacked);
          const decoded = decodeInferRequest(message);
          expectRequest(decoded, expected, tensors);
          decoded.inputs.forEach((input) => {
            const isFixedWidth = input.datatype === 'FP32' || input.datatype === 'FP64';
            if (isPacked && isFixedWidth && input.data.length > 0) expect(isSliceOf(input.data, message)).toBe(true);
          });
        },
      ),
    );
  });

  it('is tested with both forms of repeated numbers', () => {
    const contents = { int_contents: [1, 2, 3] };
    expect(serialise('InferTensorContents', contents, true).toString('hex')).toBe('1203010203');
    expect(serialise('InferTensorContents', contents, false).toString('hex')).toBe('100110021003');
  });

  it('merges contents that come in pieces, packed and unpacked mixed', () => {
    const pieces = fc.array(fc.record({ length: fc.integer({ min: 0, max: 5 }), isPacked: fc.boolean() }), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(head, tensorOf(typedDatatypes), pieces, (expected, tensor, cuts) => {
        const contents: Buffer[] = [];
        let from = 0;
        for (const { length, isPacked } of [...cuts, { length: Number.POSITIVE_INFINITY, isPacked: true }]) {
          contents.push(field(5, serialise('InferTensorContents', contentsOf(tensor, from, from + length), isPacked)));
          from += length;
        }
        const input = Buffer.concat([
          ...contents,
          serialise('ModelInferRequest.InferInputTensor', tensorMessage(tensor)),
        ]);
        const message = Buffer.concat([field(5, input), serialise('ModelInferRequest', headMessage(expected))]);
        expectRequest(decodeInferRequest(message), expected, [tensor]);
      }),
    );
  });

  it('takes fields in any order and passes over unknown ones', () => {
    fc.assert(
      fc.property(head, fc.array(tensorOf(allDatatypes), { maxLength: 4 }), fc.nat(), (expected, tensors, seed) => {
        const random = seededRandom(seed);
        const heads = tensors.map((tensor) =>
          field(5, scrambled(serialise('ModelInferRequest.InferInputTensor', tensorMessage(tensor)), random)),
        );
        const rest = { ...headMessage(expected), raw_input_contents: tensors.map(rawBytes) };
        const message = Buffer.concat([...heads, serialise('ModelInferRequest', rest)]);
        expectRequest(decodeInferRequest(scrambled(message, random)), expected, tensors);
      }),
    );
  });

  it('keeps the last of a field that comes twice', () => {
    const first = serialise('ModelInferRequest', {
      model_name: 'a',
      id: 'x',
      parameters: { timeout: { int64_param: 1 }, keep: { bool_param: true } },
    });
    const second = serialise('ModelInferRequest', { model_name: 'b', parameters: { timeout: { string_param: '2' } } });
    const decoded = decodeInferRequest(Buffer.concat([first, second]));
    expect(decoded).toMatchObject({ model: 'b', id: 'x', parameters: { timeout: '2', keep: true } });
  });
});

describe('encodeInferRequest', () => {
  it('writes what protobufjs and we ourselves read back', () => {
    fc.assert(
      fc.property(head, fc.array(tensorOf(allDatatypes), { maxLength: 4 }), (expected, tensors) => {
        const message = encodeInferRequest({
          model: expected.model_name,
          version: expected.model_version,
          id: expected.id,
          parameters: expected.parameters,
          outputs: expected.outputs,
          inputs: tensors.map((tensor) => ({
            name: tensor.name,
            datatype: tensor.datatype,
            shape: tensor.shape,
            data: rawBytes(tensor),
          })),
        });
        expectRequest(decodeInferRequest(message), expected, tensors);
        const parsed = parse('ModelInferRequest', message);
        expect(parsed).toMatchObject({ model_name: expected.model_name, model_version: expected.model_version });
        expect(parsed.id).toBe(expected.id);
        const parameters = parsed.parameters as Record<string, Record<string, unknown>>;
        expect(mapValues(parameters, parameterParsed)).toEqual(expected.parameters);
        const inputs = parsed.inputs as { name: string; datatype: string; shape: string[] }[];
        expect(inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map(Number) }))).toEqual(
          tensors.map(tensorMessage),
        );
        expect((parsed.raw_input_contents as Buffer[]).map((raw) => Buffer.from(raw))).toEqual(tensors.map(rawBytes));
      }),
    );
  });
});

describe('a request that contradicts itself', () => {
  const refusal = (message: object | Buffer): string => {
    try {
      decodeInferRequest(Buffer.isBuffer(message) ? message : serialise('ModelInferRequest', message));
    } catch (thrown) {
      if (thrown instanceof ShoalError) return `${thrown.code}: ${thrown.message}`;
      throw thrown;
    }
    return 'accepted';
  };
  const input = (rest: object): object => ({ model_name: 'm', inputs: [{ name: 'x', ...rest }] });

  it.each<[string, object | Buffer, string]>([
    [
      'unknown datatype',
      input({ datatype: 'FLOAT', shape: [1] }),
      "INVALID_REQUEST: Input 'x' has datatype 'FLOAT'; expected one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES.",
    ],
    [
      'contents and raw',
      {
        ...input({ datatype: 'FP32', shape: [1], contents: { fp32_contents: [1] } }),
        raw_input_contents: [Buffer.alloc(4)],
      },
      "INVALID_REQUEST: Input 'x' has contents although the request has raw_input_contents; expected one of the two.",
    ],
    [
      'too few raw contents',
      {
        inputs: [
          { name: 'x', datatype: 'FP32', shape: [1] },
          { name: 'y', datatype: 'FP32', shape: [1] },
        ],
        raw_input_contents: [Buffer.alloc(4)],
      },
      "INVALID_REQUEST: The request has 1 raw_input_contents for 2 inputs ('x', 'y'); expected one for each.",
    ],
    [
      'raw contents without inputs',
      { raw_input_contents: [Buffer.alloc(4)] },
      'INVALID_REQUEST: The request has 1 raw_input_contents for 0 inputs; expected one for each.',
    ],
    [
      'no data',
      input({ datatype: 'FP32', shape: [1] }),
      "INVALID_REQUEST: Input 'x' has no data: neither contents nor raw_input_contents.",
    ],
    [
      'contents of another kind',
      input({ datatype: 'INT32', shape: [1], contents: { fp32_contents: [1] } }),
      "INVALID_REQUEST: Input 'x' is INT32, whose elements belong in int_contents, but they are in fp32_contents.",
    ],
    [
      'contents of two kinds',
      input({ datatype: 'INT32', shape: [1], contents: { int_contents: [1], bytes_contents: [Buffer.alloc(0)] } }),
      "INVALID_REQUEST: Input 'x' is INT32, whose elements belong in int_contents, but they are in bytes_contents.",
    ],
    [
      'typed FP16',
      input({ datatype: 'FP16', shape: [1], contents: { fp32_contents: [1] } }),
      "INVALID_REQUEST: Input 'x' is FP16, which has no typed contents; send it in raw_input_contents.",
    ],
    [
      'empty contents of BF16',
      input({ datatype: 'BF16', shape: [1], contents: {} }),
      "INVALID_REQUEST: Input 'x' is BF16, which has no typed contents; send it in raw_input_contents.",
    ],
    [
      'a number out of range',
      input({ datatype: 'INT8', shape: [3], contents: { int_contents: [1, -128, 300] } }),
      "INVALID_REQUEST: Input 'x' is INT8, but element 2 of its contents is 300; expected -128 to 127.",
    ],
    [
      'an unsigned number out of range',
      input({ datatype: 'UINT16', shape: [1], contents: { uint_contents: [65536] } }),
      "INVALID_REQUEST: Input 'x' is UINT16, but element 0 of its contents is 65536; expected 0 to 65535.",
    ],
    [
      'fewer elements than the shape',
      input({ datatype: 'INT64', shape: [2, 3], contents: { int64_contents: [1, 2, 3, 4, 5] } }),
      "INVALID_REQUEST: Input 'x' has shape [2,3], 6 elements, but its contents hold 5.",
    ],
    [
      'negative dimension',
      input({ datatype: 'FP32', shape: [-1, 3] }),
      "INVALID_REQUEST: Input 'x' has shape [-1,3]; expected no negative dimension.",
    ],
    [
      'absurd shape',
      input({ datatype: 'FP32', shape: ['9007199254740991', 2] }),
      "INVALID_REQUEST: Input 'x' has shape [9007199254740991,2]; expected fewer than 2^53 elements.",
    ],
    [
      'absurd shape behind a zero',
      input({ datatype: 'FP32', shape: [0, '4611686018427387904'] }),
      "INVALID_REQUEST: Input 'x' has shape [0,4611686018427388000]; expected fewer than 2^53 elements.",
    ],
    [
      'shared memory',
      input({ datatype: 'FP32', shape: [1], parameters: { shared_memory_region: { string_param: 'r' } } }),
      "UNSUPPORTED: Input 'x' is to be in shared memory region 'r', but tensors are only taken and given in messages.",
    ],
    [
      'parameter without a value',
      { parameters: { p: {} } },
      "INVALID_REQUEST: Parameter 'p' has no value of a known kind.",
    ],
    [
      'a string that is not UTF-8',
      Buffer.from('0a02c328', 'hex'),
      'INVALID_REQUEST: The request is not a valid protobuf message: a string that is not UTF-8 at byte 2.',
    ],
    [
      'text instead of protobuf',
      Buffer.from('{"inputs":[]}'),
      'INVALID_REQUEST: The request is not a valid protobuf message: a length of 105 where 10 bytes are left at byte 2.',
    ],
    [
      'a field of another wire type',
      Buffer.from('0801', 'hex'),
      'INVALID_REQUEST: The request is not a valid protobuf message: field 1 with wire type 0 at byte 1.',
    ],
    [
      'a length far past the end',
      Buffer.from('3affffffff0700', 'hex'),
      'INVALID_REQUEST: The request is not a valid protobuf message: a length of 2147483647 where 1 bytes are left at byte 1.',
    ],
    [
      'an endless varint',
      Buffer.from('a006ffffffffffffffffffff01', 'hex'),
      'INVALID_REQUEST: The request is not a valid protobuf message: a varint longer than 10 bytes at byte 2.',
    ],
    [
      'a group that does not end',
      Buffer.from('a306', 'hex'),
      'INVALID_REQUEST: The request is not a valid protobuf message: a group that does not end at byte 2.',
    ],
    [
      'field number 0',
      Buffer.from('0001', 'hex'),
      'INVALID_REQUEST: The request is not a valid protobuf message: field number 0 at byte 0.',
    ],
  ])('%s', (_what, message, sentence) => {
    expect(refusal(message)).toBe(sentence);
  });

  it('a name of a megabyte does not fill the error', () => {
    const sentence = refusal({ inputs: [{ name: 'n'.repeat(1_000_000), datatype: 'X' }] });
    expect(sentence.length).toBeLessThan(400);
  });

  it.each([
    ['inputs', { inputs: Array.from({ length: 5000 }, () => ({ datatype: 'FP32', shape: [0] })) }],
    ['requested outputs', { outputs: Array.from({ length: 5000 }, () => ({})) }],
    ['raw_input_contents', { raw_input_contents: Array.from({ length: 5000 }, () => Buffer.alloc(0)) }],
  ])('more %s than anybody has', (what, message) => {
    expect(refusal(message)).toBe(`INVALID_REQUEST: The request has more than 4096 ${what}.`);
  });

  it('more parameters, dimensions or pieces of contents than anybody has', () => {
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`p${i}`, { bool_param: true }]));
    expect(refusal({ parameters: many })).toBe('INVALID_REQUEST: The request has more than 4096 parameters.');
    const deep = { inputs: [{ datatype: 'FP32', shape: Array.from({ length: 65 }, () => 1) }] };
    expect(refusal(deep)).toBe('INVALID_REQUEST: A tensor of the request has more than 64 dimensions.');
    const piece = field(5, serialise('InferTensorContents', { bool_contents: [true] }));
    const pieces = Buffer.concat(Array.from({ length: 5000 }, () => piece));
    expect(refusal(field(5, pieces))).toBe(
      'INVALID_REQUEST: A tensor of the request has its contents in more than 4096 pieces.',
    );
  });
});
