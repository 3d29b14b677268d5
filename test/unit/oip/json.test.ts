import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Datatype } from '../../../core/datatype.js';
import { ShoalError } from '../../../core/errors.js';
import type { InferResponse } from '../../../core/inference.js';
import { elementCount } from '../../../core/tensor.js';
import { parseInferBody, renderInferBody } from '../../../platform/oip/json.js';
import { allDatatypes, rawBytes, tensorOf } from './generated.js';

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

const responseOf = (datatype: Datatype, shape: readonly number[], data: Uint8Array, id = ''): InferResponse => {
  const half = data.length >> 1;
  const parts = [data.subarray(0, half), data.subarray(half)];
  return {
    model: 'm',
    version: '2',
    id,
    outputs: [{ name: 'x', datatype, shape, parts, byteLength: data.length }],
    receipt,
  };
};

/** Flat data as arrays within arrays. */
function nested(flat: readonly unknown[], shape: readonly number[]): unknown {
  const [first, ...rest] = shape;
  if (first === undefined) return flat[0];
  const step = elementCount(rest);
  return Array.from({ length: first }, (_, i) => nested(flat.slice(i * step, (i + 1) * step), rest));
}

/** Numbers beyond 2^53 as the decimal strings that a caller has to send. */
const quoteLargeIntegers = (text: string): string => text.replace(/(?<=[[,:])-?\d{16,}(?=[,\]}])/g, '"$&"');

/** NaN payloads are not kept by JSON; everything else is, to the bit. */
function canonical(datatype: Datatype, bytes: Uint8Array): Buffer {
  const out = Buffer.from(bytes);
  const nan = { FP16: [2, 0x7c00, 0x03ff, 0x7e00], BF16: [2, 0x7f80, 0x007f, 0x7fc0] }[datatype as 'FP16' | 'BF16'];
  if (nan === undefined) return out;
  const [, exponent = 0, mantissa = 0, quiet = 0] = nan;
  for (let at = 0; at < out.length; at += 2) {
    const bits = out.readUInt16LE(at);
    if ((bits & exponent) === exponent && (bits & mantissa) !== 0) out.writeUInt16LE(quiet, at);
  }
  return out;
}

const utf8Bytes = tensorOf(['BYTES']).map((tensor) => ({
  ...tensor,
  elements: tensor.elements.map((element) => Buffer.from(Buffer.from(element as Uint8Array).toString('utf8'))),
}));

describe('a tensor through JSON and back', () => {
  const tensor = fc.oneof(tensorOf(allDatatypes.filter((datatype) => datatype !== 'BYTES')), utf8Bytes);

  it.each([false, true])('keeps every element of every datatype (nested: %s)', (isNested) => {
    fc.assert(
      fc.property(tensor, (sample) => {
        const { datatype, shape } = sample;
        const text = renderInferBody(responseOf(datatype, shape, rawBytes(sample)));
        const body = JSON.parse(datatype.endsWith('INT64') ? quoteLargeIntegers(text) : text) as {
          outputs: { data: unknown[] }[];
          inputs?: unknown;
        };
        const [output] = body.outputs;
        if (output === undefined) throw new Error('no output');
        const data = isNested && shape.length > 0 ? nested(output.data, shape) : output.data;
        const [input] = parseInferBody({ inputs: [{ ...output, data }] }, 'm', '').inputs;
        expect(input).toMatchObject({ name: 'x', datatype, shape });
        expect(input && Buffer.from(input.data)).toEqual(canonical(datatype, rawBytes(sample)));
      }),
    );
  });
});

describe('parseInferBody', () => {
  it('reads id, parameters and requested outputs', () => {
    const body = {
      id: '42',
      parameters: { timeout: 5000, flag: true, note: 'n', share: 0.5 },
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2], parameters: null }],
      outputs: [{ name: 'y', parameters: { classification: 3 } }, { name: 'z' }],
    };
    for (const form of [body, JSON.stringify(body), Buffer.from(JSON.stringify(body))]) {
      const request = parseInferBody(form, 'm', '7');
      expect(request).toMatchObject({ model: 'm', version: '7', id: '42' });
      expect({ ...request.parameters }).toEqual(body.parameters);
      expect(request.outputs.map(({ name, parameters }) => [name, { ...parameters }])).toEqual([
        ['y', { classification: 3 }],
        ['z', {}],
      ]);
      expect(request.inputs.map(({ data }) => [...data])).toEqual([[0, 0, 128, 63, 0, 0, 0, 64]]);
    }
  });

  it('takes large integers as decimal strings, exactly', () => {
    const int64 = { name: 'x', datatype: 'INT64', shape: [3], data: ['9007199254740993', -1, '-9223372036854775808'] };
    const [input] = parseInferBody({ inputs: [int64] }, 'm', '').inputs;
    expect([...new BigInt64Array(new Uint8Array(input?.data ?? []).buffer)]).toEqual([
      9007199254740993n,
      -1n,
      -9223372036854775808n,
    ]);
  });

  it('encodes FP16', () => {
    const fp16 = {
      name: 'x',
      datatype: 'FP16',
      shape: [2, 2],
      data: [
        [1, 0.1],
        ['-Infinity', 65504],
      ],
    };
    const [input] = parseInferBody({ inputs: [fp16] }, 'm', '').inputs;
    expect(Buffer.from(input?.data ?? []).toString('hex')).toBe('003c662e00fcff7b');
  });

  const refusal = (body: unknown): string => {
    try {
      parseInferBody(body, 'm', '');
    } catch (thrown) {
      if (thrown instanceof ShoalError) return `${thrown.code}: ${thrown.message}`;
      throw thrown;
    }
    return 'accepted';
  };
  const x = (rest: object): object => ({
    inputs: [{ name: 'x', datatype: 'INT8', shape: [2], data: [1, 2], ...rest }],
  });

  it('accepts the request that the cases below spoil', () => {
    expect(refusal(x({}))).toBe('accepted');
  });

  it.each<[string, unknown, string | RegExp]>([
    ['not JSON', '{"inputs": [', /^INVALID_REQUEST: The body is not JSON: .+\.$/],
    ['not an object', '[]', 'INVALID_REQUEST: The body must be a JSON object; got an array of 0.'],
    ['no inputs', {}, 'INVALID_REQUEST: inputs must be an array; got nothing.'],
    ['an input that is not one', { inputs: [3] }, 'INVALID_REQUEST: inputs[0] must be a JSON object; got 3.'],
    ['no name', { inputs: [{}] }, 'INVALID_REQUEST: inputs[0].name must be a string; got nothing.'],
    ['no datatype', x({ datatype: 7 }), "INVALID_REQUEST: Input 'x' (inputs[0].datatype) must be a string; got 7."],
    [
      'unknown datatype',
      x({ datatype: 'float' }),
      /^INVALID_REQUEST: Input 'x' \(inputs\[0\]\.datatype\) is 'float'; expected one of BOOL, .*BYTES\.$/,
    ],
    [
      'shape that is no array',
      x({ shape: 2 }),
      "INVALID_REQUEST: Input 'x' (inputs[0].shape) must be an array of integers; got 2.",
    ],
    [
      'fractional dimension',
      x({ shape: [1, 2.5] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].shape[1]) must be an integer; got 2.5.",
    ],
    [
      'negative dimension',
      x({ shape: [-1] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].shape) is [-1]; expected no negative dimension.",
    ],
    [
      'absurd shape',
      x({ shape: [2 ** 40, 2 ** 40] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].shape) is [1099511627776,1099511627776]; expected fewer than 2^53 elements.",
    ],
    ['no data', x({ data: undefined }), "INVALID_REQUEST: Input 'x' (inputs[0].data) must be an array; got nothing."],
    [
      'too little data',
      x({ data: [1] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data) has 1 elements; expected 2 for shape [2].",
    ],
    [
      'out of range',
      x({ data: [1, 300] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data[1]) must be an integer from -128 to 127 (INT8); got 300.",
    ],
    [
      'a fraction for an integer',
      x({ data: [1, 0.5] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data[1]) must be an integer from -128 to 127 (INT8); got 0.5.",
    ],
    [
      'nested too deep',
      x({ data: [1, [2]] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data[1]) must be an integer from -128 to 127 (INT8); got an array of 1.",
    ],
    [
      'ragged',
      x({ shape: [2, 2], data: [[1, 2], [3]] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data[1]) has 1 entries; expected 2 for shape [2,2].",
    ],
    [
      'half nested',
      x({ shape: [2, 2], data: [[1, 2], 3] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data[1]) must be an array; got 3.",
    ],
    [
      'a bad element deep inside',
      x({ shape: [2, 1, 3], data: [[[1, 2, 3]], [[4, 5, 'six']]] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data[1][0][2]) must be an integer from -128 to 127 (INT8); got the string 'six'.",
    ],
    [
      'number that JSON has rounded',
      '{"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[9007199254740993]}]}',
      "INVALID_REQUEST: Input 'x' (inputs[0].data[0]) must be an integer from -9223372036854775808 to 9223372036854775807, as a decimal string when beyond 2^53 (INT64); got 9007199254740992.",
    ],
    [
      'beyond 64 bits',
      x({ datatype: 'UINT64', data: [1, '18446744073709551616'] }),
      /^INVALID_REQUEST: Input 'x' \(inputs\[0\]\.data\[1\]\) must be .* \(UINT64\); got the string '18446744073709551616'\.$/,
    ],
    [
      'beyond FP16',
      x({ datatype: 'FP16', data: [1, 65520] }),
      'INVALID_REQUEST: Input \'x\' (inputs[0].data[1]) must be a number within the range of FP16, or "NaN", "Infinity", "-Infinity" (FP16); got 65520.',
    ],
    [
      'beyond FP64',
      '{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1e999]}]}',
      'INVALID_REQUEST: Input \'x\' (inputs[0].data[0]) must be a number within the range of FP64, or "NaN", "Infinity", "-Infinity" (FP64); got Infinity.',
    ],
    [
      'number for a boolean',
      x({ datatype: 'BOOL', data: [true, 1] }),
      "INVALID_REQUEST: Input 'x' (inputs[0].data[1]) must be true or false (BOOL); got 1.",
    ],
    [
      'half a surrogate pair',
      x({ datatype: 'BYTES', data: ['a', '\ud800'] }),
      /^INVALID_REQUEST: Input 'x' \(inputs\[0\]\.data\[1\]\) must be a string of valid Unicode \(BYTES\)/,
    ],
    ['id that is no string', { ...x({}), id: 5 }, 'INVALID_REQUEST: id must be a string; got 5.'],
    [
      'parameter of a wrong kind',
      { ...x({}), parameters: { p: [1] } },
      'INVALID_REQUEST: parameters.p must be a boolean, a number or a string; got an array of 1.',
    ],
    [
      'output without a name',
      { ...x({}), outputs: [{}] },
      'INVALID_REQUEST: outputs[0].name must be a string; got nothing.',
    ],
    [
      'binary data',
      x({ parameters: { binary_data_size: 8 } }),
      "UNSUPPORTED: Input 'x' announces binary data after the JSON body; over HTTP tensors are taken as JSON only. Send 'data', or call over gRPC.",
    ],
    [
      'shared memory',
      x({ parameters: { shared_memory_region: 'r' } }),
      "UNSUPPORTED: Input 'x' is to be in shared memory region 'r', but tensors are only taken and given in messages.",
    ],
  ])('%s', (_what, body, sentence) => {
    if (typeof sentence === 'string') expect(refusal(body)).toBe(sentence);
    else expect(refusal(body)).toMatch(sentence);
  });

  it('answers whatever it is given with a request or INVALID_REQUEST', () => {
    const anything = fc.anything({ maxDepth: 3, withBigInt: false });
    const datatype = fc.oneof(fc.constantFrom(...allDatatypes), anything);
    const dims = fc.oneof(fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 3 }), anything);
    const input = fc.record(
      { name: fc.oneof(fc.string(), anything), datatype, shape: dims, data: anything, parameters: anything },
      { requiredKeys: [] },
    );
    const body = fc.record(
      { inputs: fc.oneof(fc.array(input), anything), outputs: anything, id: anything, parameters: anything },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(body, anything, fc.json()), (value) => {
        expect(refusal(value)).toMatch(/^(accepted$|INVALID_REQUEST: )/);
      }),
      { numRuns: 1000 },
    );
  });

  it('a shape far larger than its nested data is refused before anything is allocated for it', () => {
    const before = process.memoryUsage().arrayBuffers;
    expect(refusal(x({ shape: [1, 2 ** 40], data: [[]] }))).toBe(
      "INVALID_REQUEST: Input 'x' (inputs[0].data[0]) has 0 entries; expected 1099511627776 for shape [1,1099511627776].",
    );
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
  });
});

describe('renderInferBody', () => {
  it('writes the whole answer, exact to the digit', () => {
    const data = Buffer.from(new BigInt64Array([9007199254740993n, -1n]).buffer);
    expect(renderInferBody(responseOf('INT64', [1, 2], data, 'id "1"'), { share: 0.5, worker: 'w' })).toBe(
      '{"model_name":"m","model_version":"2","id":"id \\"1\\"","parameters":{"share":0.5,"worker":"w"},' +
        '"outputs":[{"name":"x","datatype":"INT64","shape":[1,2],"data":[9007199254740993,-1]}]}',
    );
  });

  it('writes what JSON has no number for as strings', () => {
    const data = Buffer.from(
      new Float32Array([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0]).buffer,
    );
    expect(renderInferBody(responseOf('FP32', [4], data))).toContain('"data":["NaN","Infinity","-Infinity",-0]');
  });

  it.each([
    ['not UTF-8', '02000000c328'],
    ['cut short', '0500000061'],
  ])('refuses BYTES that are %s', (_what, hex) => {
    expect(() => renderInferBody(responseOf('BYTES', [1], Buffer.from(hex, 'hex')))).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: "Output 'x' holds BYTES that are not UTF-8 text, which JSON cannot carry; call over gRPC.",
      }),
    );
  });
});
