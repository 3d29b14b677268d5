import { connect } from 'node:http2';
import path from 'node:path';
import { Client, credentials, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ErrorCode, errorKinds } from '../../core/errors.js';
import type { InferRequest } from '../../core/inference.js';
import type { Tensor } from '../../core/tensor.js';
import { channelOptions } from '../../platform/grpc-options.js';
import { decodeStatusDetails, statusDetailsTrailer } from '../../platform/oip/error-details.js';
import { encodeInferRequest } from '../../platform/oip/request.js';
import { decodeInferResponse } from '../../platform/oip/response.js';
import { oipMethod, oipService } from '../../platform/oip/service.js';
import { type HttpAnswer, HttpCaller } from '../support/http-caller.js';
import { inferRequest } from '../support/oip-callers.js';
import { probeRepository } from '../support/probe-repository.js';
import { bytesOfStrings, elementsOf } from '../support/recorded-vectors.js';
import { type Cluster, ShoalGround } from '../support/shoal-ground.js';
import { serialise } from '../unit/oip/generated.js';

const limitBytes = 1024 * 1024;

let ground: ShoalGround;
let cluster: Cluster;
/** One connection for every gRPC test of this file, and one for every HTTP test. */
let grpc: Client;
let http: HttpCaller;
beforeAll(async () => {
  ground = await ShoalGround.open();
  const models = await probeRepository(path.join(ground.folder, 'models'), ['affine', 'bytes', 'neighbour'], ['mnist']);
  cluster = await ground.up({ models, flags: ['--max-message-bytes', String(limitBytes)] });
  grpc = new Client(cluster.grpc, credentials.createInsecure(), channelOptions());
  http = new HttpCaller(cluster.http);
});
afterAll(async () => {
  grpc.close();
  http.close();
  await ground.close();
});

const tensor = (name: string, shape: readonly number[], values: readonly number[]): Tensor => {
  return { name, datatype: 'FP32', shape, data: new Uint8Array(Float32Array.from(values).buffer) };
};
const x = tensor('x', [1, 4], [1, 2, 3, 4]);

interface Refusal {
  readonly grpcStatus: number;
  readonly details: string;
  /** Of the trailer `shoal-error`. */
  readonly trailer: unknown;
  /** Of google.rpc.ErrorInfo. */
  readonly reason: unknown;
}

/** The answer to a serialised ModelInferRequest, or how it was refused. */
function ask(message: Buffer, path: string = oipMethod.ModelInfer): Promise<Buffer | Refusal> {
  const { requestSerialize, responseDeserialize } = oipService.ModelInfer as MethodDefinition<Buffer, Buffer>;
  return new Promise((resolve) => {
    grpc.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, (failure, answer) => {
      resolve(failure === null ? (answer as Buffer) : refusalOf(failure));
    });
  });
}

function refusalOf({ code, details, metadata }: ServiceError): Refusal {
  const [binary] = metadata.get(statusDetailsTrailer);
  const reason = Buffer.isBuffer(binary) ? decodeStatusDetails(binary).code : undefined;
  return { grpcStatus: code, details, trailer: metadata.get('shoal-error')[0], reason };
}

const expectedRefusal = (code: ErrorCode, sentence: RegExp): Refusal => ({
  grpcStatus: errorKinds[code].grpc,
  details: expect.stringMatching(withAdvice(code, sentence)),
  trailer: code,
  reason: code,
});

/** The sentence, all of it, and then the advice. */
const withAdvice = (code: ErrorCode, sentence: RegExp): RegExp =>
  new RegExp(`^${sentence.source} ${errorKinds[code].advice.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`, 'su');

function expectHttpRefusal(answer: HttpAnswer, code: ErrorCode, sentence: RegExp): void {
  expect(answer.headers['content-type']).toMatch(/^application\/json/);
  expect(JSON.parse(answer.text)).toEqual({ code, error: expect.stringMatching(withAdvice(code, sentence)) });
  expect(answer.status).toBe(errorKinds[code].http);
}

const goodBody = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }] });
const affineRoute = '/v2/models/affine/infer';

async function expectGoodGrpc(): Promise<void> {
  const answer = await ask(encodeInferRequest(inferRequest('affine', [x])));
  expect(Buffer.isBuffer(answer), JSON.stringify(answer)).toBe(true);
  const [output] = decodeInferResponse(answer as Buffer).outputs;
  expect(elementsOf(output as Tensor)).toEqual([3, 5, 7, 9]);
}

/** `onSameConnection`: the server has not hung up on this caller. */
async function expectGoodHttp(onSameConnection = true): Promise<void> {
  const { status, text, reused } = await http.send('POST', affineRoute, goodBody);
  expect(status, text).toBe(200);
  expect(JSON.parse(text).outputs[0].data).toEqual([3, 5, 7, 9]);
  if (onSameConnection) expect(reused).toBe(true);
}

/** Both connections are up before a test begins. */
beforeEach(async () => {
  await expectGoodGrpc();
  await expectGoodHttp(false);
});

interface BadRequest {
  readonly name: string;
  readonly request: InferRequest;
  readonly code: ErrorCode;
  readonly sentence: RegExp;
  /** Where JSON is refused with other words. */
  readonly httpSentence?: RegExp;
}

const affine = (inputs: readonly Tensor[], more: Partial<InferRequest> = {}) => inferRequest('affine', inputs, more);
const bad = (name: string, request: InferRequest, sentence: RegExp, httpSentence?: RegExp): BadRequest => ({
  name,
  request,
  code: 'INVALID_REQUEST',
  sentence,
  ...(httpSentence === undefined ? {} : { httpSentence }),
});

const badRequests: readonly BadRequest[] = [
  {
    name: 'an unknown model',
    request: inferRequest('nosuch', [x]),
    code: 'MODEL_NOT_FOUND',
    sentence: /There is no model 'nosuch'\./,
  },
  {
    name: 'a model name with everything in it',
    request: inferRequest('a b%2f"\n{}é', [x]),
    code: 'MODEL_NOT_FOUND',
    sentence: /There is no model 'a b%2f"\?\{\}é'\./,
  },
  {
    name: 'an unknown version',
    request: affine([x], { version: '9' }),
    code: 'VERSION_NOT_FOUND',
    sentence: /Model 'affine' has no version '9', only 1\./,
  },
  {
    name: 'a version that is no number',
    request: affine([x], { version: 'latest' }),
    code: 'VERSION_NOT_FOUND',
    sentence: /Model 'affine' has no version 'latest', only 1\./,
  },
  {
    name: 'a model that could not be loaded',
    request: inferRequest('neighbour', [x]),
    code: 'MODEL_NOT_READY',
    sentence: /Model 'neighbour' cannot take requests: version 1 is unavailable \(worker-0: .*not independent.*\)\./,
  },
  bad('a wrong input name', affine([{ ...x, name: 'z' }]), /Model 'affine' takes inputs 'x', got 'z'\./),
  bad('a missing input', affine([]), /Model 'affine' takes inputs 'x', got none\./),
  bad('an extra input', affine([x, { ...x, name: 'y' }]), /Model 'affine' takes inputs 'x', got 'x', 'y'\./),
  bad('the same input twice', affine([x, x]), /Model 'affine' takes inputs 'x', got 'x', 'x'\./),
  bad(
    'a wrong datatype',
    affine([{ ...x, datatype: 'INT32' }]),
    /Input 'x' of model 'affine' has datatype FP32, got INT32\./,
  ),
  bad(
    'a wrong rank',
    affine([{ ...x, shape: [4] }]),
    /Input 'x' of model 'affine' has shape \[-1,4\] \(-1: any length\), got \[4\]\./,
  ),
  bad(
    'a scalar',
    affine([tensor('x', [], [1])]),
    /Input 'x' of model 'affine' has shape \[-1,4\] \(-1: any length\), got \[\]\./,
  ),
  bad(
    'a wrong dimension',
    affine([tensor('x', [1, 5], [1, 2, 3, 4, 5])]),
    /Input 'x' of model 'affine' has shape \[-1,4\] \(-1: any length\), got \[1,5\]\./,
  ),
  bad(
    'dimensions beyond all measure',
    affine([{ ...x, shape: [2 ** 40, 2 ** 40] }]),
    /Input 'x' .*\[1099511627776,1099511627776\].*fewer than 2\^53 elements\./,
  ),
  bad(
    'too few bytes',
    affine([{ ...x, data: x.data.subarray(0, 12) }]),
    /Input 'x' of model 'affine' with shape \[1,4\] and datatype FP32 takes 16 bytes, got 12\./,
    /Input 'x' \(inputs\[0\]\.data\) has 3 elements; expected 4 for shape \[1,4\]\./,
  ),
  bad(
    'too many bytes',
    affine([{ ...x, data: new Uint8Array(20) }]),
    /Input 'x' of model 'affine' with shape \[1,4\] and datatype FP32 takes 16 bytes, got 20\./,
    /Input 'x' \(inputs\[0\]\.data\) has 5 elements; expected 4 for shape \[1,4\]\./,
  ),
  bad('zero rows', affine([tensor('x', [0, 4], [])]), /Input 'x' of model 'affine' has shape \[0,4\]: zero rows .*\./),
  bad(
    'an unknown output',
    affine([x], { outputs: [{ name: 'w', parameters: {} }] }),
    /Model 'affine' has outputs 'y', not 'w'\./,
  ),
  bad(
    'an output twice',
    affine([x], { outputs: ['y', 'y'].map((name) => ({ name, parameters: {} })) }),
    /Output 'y' is requested twice\./,
  ),
  bad(
    'a negative timeout',
    affine([x], { parameters: { timeout: -1 } }),
    /Parameter 'timeout' must be a whole number of microseconds, got "-1"\./,
  ),
  bad(
    'a timeout in words',
    affine([x], { parameters: { timeout: 'soon' } }),
    /Parameter 'timeout' must be a whole number of microseconds, got "soon"\./,
  ),
  {
    name: 'a timeout of one microsecond',
    request: affine([x], { parameters: { timeout: 1 } }),
    code: 'DEADLINE_EXPIRED',
    sentence:
      /The (deadline of the )?request for model 'affine' (had passed when it arrived|ran out of its .* ms .*)\./,
  },
  {
    name: 'an output to be put into shared memory',
    request: affine([x], { outputs: [{ name: 'y', parameters: { shared_memory_region: 'r' } }] }),
    code: 'UNSUPPORTED',
    sentence: /Output 'y' is to be in shared memory region 'r', but .*\./,
  },
];

describe.each(badRequests)('$name', ({ request, code, sentence, httpSentence = sentence }) => {
  test(`over gRPC is ${code}, and the next request is served`, async () => {
    expect(await ask(encodeInferRequest(request))).toEqual(expectedRefusal(code, sentence));
    await expectGoodGrpc();
  });

  test(`over HTTP is ${code}, and the next request is served`, async () => {
    const { model, version, inputs, outputs, parameters } = request;
    const versionRoute = version === '' ? '' : `/versions/${version}`;
    const body = JSON.stringify({
      inputs: inputs.map((input) => {
        const { name, datatype, shape } = input;
        return { name, datatype, shape, data: elementsOf(input) };
      }),
      ...(outputs.length === 0 ? {} : { outputs }),
      parameters,
    });
    const answer = await http.send('POST', `/v2/models/${encodeURIComponent(model)}${versionRoute}/infer`, body);
    expectHttpRefusal(answer, code, httpSentence);
    await expectGoodHttp();
  });
});

const rawTensor = { name: 'x', datatype: 'FP32', shape: [1, 4] };
const requestOf = (more: object): Buffer => serialise('ModelInferRequest', { model_name: 'affine', ...more });
const bytesRequest = (data: Buffer): Buffer =>
  encodeInferRequest(inferRequest('bytes', [{ name: 'x', datatype: 'BYTES', shape: [1, 1], data }]));
const ofSize = (bytes: number): Buffer => {
  const fixed = encodeInferRequest(affine([{ ...x, shape: [bytes, 4], data: new Uint8Array(bytes - 100) }])).length;
  return encodeInferRequest(affine([{ ...x, shape: [bytes, 4], data: new Uint8Array(2 * bytes - 100 - fixed) }]));
};

describe('over gRPC', () => {
  test.each<[string, () => Buffer, ErrorCode, RegExp]>([
    [
      'both contents and raw',
      () =>
        requestOf({
          inputs: [{ ...rawTensor, contents: { fp32_contents: [1, 2, 3, 4] } }],
          raw_input_contents: [Buffer.alloc(16)],
        }),
      'INVALID_REQUEST',
      /.*'x'.*contents.*raw_input_contents.*\./,
    ],
    [
      'raw contents for more inputs than there are',
      () => requestOf({ inputs: [rawTensor], raw_input_contents: [Buffer.alloc(16), Buffer.alloc(16)] }),
      'INVALID_REQUEST',
      /.*2.*raw_input_contents.*1.*\./,
    ],
    [
      'contents of another kind',
      () => requestOf({ inputs: [{ ...rawTensor, contents: { int_contents: [1, 2, 3, 4] } }] }),
      'INVALID_REQUEST',
      /Input 'x' .*int_contents.*\./,
    ],
    [
      'too few typed contents',
      () => requestOf({ inputs: [{ ...rawTensor, contents: { fp32_contents: [1, 2, 3] } }] }),
      'INVALID_REQUEST',
      /Input 'x' has shape \[1,4\], 4 elements, but its contents hold 3\./,
    ],
    ['neither contents nor raw', () => requestOf({ inputs: [rawTensor] }), 'INVALID_REQUEST', /Input 'x' .*\./],
    [
      'an unknown datatype',
      () => requestOf({ inputs: [{ ...rawTensor, datatype: 'FLOAT' }], raw_input_contents: [Buffer.alloc(16)] }),
      'INVALID_REQUEST',
      /Input 'x' .*FLOAT.*\./,
    ],
    [
      'a negative dimension',
      () => requestOf({ inputs: [{ ...rawTensor, shape: [-1, 4] }], raw_input_contents: [Buffer.alloc(16)] }),
      'INVALID_REQUEST',
      /Input 'x' has shape \[-1,4\]; expected no negative dimension\./,
    ],
    ['no model name', () => requestOf({ model_name: '' }), 'MODEL_NOT_FOUND', /There is no model ''\./],
    ['an empty message', () => Buffer.alloc(0), 'MODEL_NOT_FOUND', /There is no model ''\./],
    [
      'bytes that are not protobuf',
      () => Buffer.from('this is no message at all'),
      'INVALID_REQUEST',
      /The request is not a valid protobuf message: .* at byte \d+\./,
    ],
    [
      'a message that was cut off',
      () => encodeInferRequest(affine([x])).subarray(0, -3),
      'INVALID_REQUEST',
      /The request is not a valid protobuf message: .* at byte \d+\./,
    ],
    [
      'strings that do not fill their bytes',
      () => bytesRequest(Buffer.from([9, 0, 0, 0, 65])),
      'INVALID_REQUEST',
      /Input 'x' of model 'bytes' with shape \[1,1\] takes 1 length-prefixed elements that fill its 5 bytes exactly.*\./,
    ],
    [
      'a string that is not UTF-8',
      () => bytesRequest(Buffer.from([2, 0, 0, 0, 0xc3, 0x28])),
      'INVALID_REQUEST',
      /Input 'x' of model 'bytes' has an element \(number 0\) that is not UTF-8; ONNX strings are\./,
    ],
    [
      'a string with a NUL, which ONNX Runtime would cut',
      () => bytesRequest(bytesOfStrings(['a\0b'])),
      'INVALID_REQUEST',
      /Input 'x' of model 'bytes' has an element \(number 0\) with a NUL character, where ONNX Runtime would cut it off\./,
    ],
    [
      'a message one byte over the limit',
      () => ofSize(limitBytes + 1),
      'REQUEST_TOO_LARGE',
      /The request message has 1048577 bytes; at most 1048576 are accepted\./,
    ],
    [
      'a message of 200 MB',
      () => ofSize(200_000_000),
      'REQUEST_TOO_LARGE',
      /The request message has 200000000 bytes; at most 1048576 are accepted\./,
    ],
  ])('%s is refused, and the next request is served', async (_name, message, code, sentence) => {
    expect(await ask(message())).toEqual(expectedRefusal(code, sentence));
    await expectGoodGrpc();
  });

  test('a message of exactly the limit is taken as far as its contents go', async () => {
    const refusal = await ask(ofSize(limitBytes));
    expect(refusal).toEqual(
      expectedRefusal('INVALID_REQUEST', /Input 'x' of model 'affine' .* takes \d+ bytes, got \d+\./),
    );
  });

  test('a method that is not served is UNIMPLEMENTED, in the words of gRPC', async () => {
    const refusal = await ask(Buffer.alloc(0), '/inference.GRPCInferenceService/ModelStreamInfer');
    expect(refusal).toMatchObject({ grpcStatus: 12, details: expect.stringContaining('ModelStreamInfer') });
    await expectGoodGrpc();
  });

  // A client library would give up by itself; the server must do so too.
  test.each([
    ['1n', 'DEADLINE_EXPIRED', '4'],
    ['0n', 'DEADLINE_EXPIRED', '4'],
    ['soon', 'INVALID_REQUEST', '3'],
  ])('a deadline of %s is %s, and the next request on that connection is served', async (timeout, code, status) => {
    const session = connect(`http://${cluster.grpc}`);
    const call = async (headers: Record<string, string>) => {
      const message = encodeInferRequest(affine([x]));
      const frame = Buffer.alloc(5);
      frame.writeUInt32BE(message.length, 1);
      const stream = session.request({
        ':method': 'POST',
        ':path': oipMethod.ModelInfer,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...headers,
      });
      return new Promise<Record<string, unknown>>((resolve, reject) => {
        stream.on('error', reject);
        stream.on('response', (head) => 'grpc-status' in head && resolve(head));
        stream.on('trailers', resolve);
        stream.resume();
        stream.end(Buffer.concat([frame, message]));
      });
    };
    expect(await call({ 'grpc-timeout': timeout })).toMatchObject({ 'grpc-status': status, 'shoal-error': code });
    expect(await call({})).toMatchObject({ 'grpc-status': '0' });
    session.close();
  });
});

describe('over HTTP', () => {
  const input = (more: object): string =>
    JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], ...more }] });

  test.each<[string, string, string | Buffer, ErrorCode, RegExp]>([
    ['text that is not JSON', affineRoute, '{"inputs": [', 'INVALID_REQUEST', /The body is not JSON: .*\./],
    ['no body', affineRoute, '', 'INVALID_REQUEST', /.*\./],
    [
      'bytes that are no text',
      affineRoute,
      Buffer.from([0, 255, 254, 1]),
      'INVALID_REQUEST',
      /The body is not JSON: .*\./,
    ],
    [
      'JSON that is no object',
      affineRoute,
      '[1, 2]',
      'INVALID_REQUEST',
      /The body must be a JSON object; got an array of 2\./,
    ],
    ['no inputs', affineRoute, '{}', 'INVALID_REQUEST', /inputs must be an array; got nothing\./],
    ['inputs that are no list', affineRoute, '{"inputs": 7}', 'INVALID_REQUEST', /inputs must be an array; got 7\./],
    [
      'an unknown datatype',
      affineRoute,
      input({ datatype: 'FLOAT', data: [1, 2, 3, 4] }),
      'INVALID_REQUEST',
      /Input 'x' \(inputs\[0\]\.datatype\) is 'FLOAT'; expected one of BOOL, .*BYTES\./,
    ],
    [
      'data nested otherwise than the shape',
      affineRoute,
      input({
        data: [
          [1, 2],
          [3, 4],
        ],
      }),
      'INVALID_REQUEST',
      /Input 'x' \(inputs\[0\]\.data\) has 2 entries; expected 1 for shape \[1,4\]\./,
    ],
    [
      'a negative dimension',
      affineRoute,
      input({ shape: [-1, 4], data: [1, 2, 3, 4] }),
      'INVALID_REQUEST',
      /Input 'x' \(inputs\[0\]\.shape\) is \[-1,4\]; expected no negative dimension\./,
    ],
    [
      'an element of another kind',
      affineRoute,
      input({ data: [1, 2, 'three', 4] }),
      'INVALID_REQUEST',
      /Input 'x' \(inputs\[0\]\.data\[2\]\) must be a number .*; got the string 'three'\./,
    ],
    [
      'no data',
      affineRoute,
      input({}),
      'INVALID_REQUEST',
      /Input 'x' \(inputs\[0\]\.data\) must be an array; got nothing\./,
    ],
    [
      'binary tensors',
      affineRoute,
      input({ parameters: { binary_data_size: 16 } }),
      'UNSUPPORTED',
      /Input 'x' announces binary data .*\./,
    ],
    [
      'an address that is not served',
      '/v2/modles/affine/infer',
      goodBody,
      'ROUTE_NOT_FOUND',
      /.*\/v2\/modles\/affine\/infer.*\./,
    ],
    [
      'a broken percent encoding',
      '/v2/models/%zz/infer',
      goodBody,
      'INVALID_REQUEST',
      /The address .* broken percent encoding\./,
    ],
    ['JSON nested without end', affineRoute, '['.repeat(200_000), 'INVALID_REQUEST', /The body .*\./],
  ])('%s is refused, and the next request is served', async (_name, route, body, code, sentence) => {
    expectHttpRefusal(await http.send('POST', route, body), code, sentence);
    await expectGoodHttp();
  });

  test('GET where POST is meant is ROUTE_NOT_FOUND', async () => {
    expectHttpRefusal(await http.send('GET', affineRoute), 'ROUTE_NOT_FOUND', /.*GET.*\./);
    await expectGoodHttp();
  });

  // What curl sends when it is not told: the body counts, not what it calls itself.
  test.each(['application/x-www-form-urlencoded', 'text/plain', 'application/octet-stream'])(
    'a good body that calls itself %s is served',
    async (type) => {
      const { status, text } = await http.send('POST', affineRoute, goodBody, { 'content-type': type });
      expect(status, text).toBe(200);
    },
  );

  test('a huge body of unannounced size is refused, and the next request is served', async () => {
    const headers = { 'transfer-encoding': 'chunked' };
    const answer = await http.send('POST', affineRoute, Buffer.alloc(40_000_000, 32), headers);
    expectHttpRefusal(answer, 'REQUEST_TOO_LARGE', /The body grows past the limit; at most 1048576 are accepted\./);
    await expectGoodHttp();
  });

  test('a huge body is refused with both sizes, and the next request is served', async () => {
    const data = `[${'1,'.repeat(20_000_000)}1]`;
    const body = input({}).replace('}]}', `,"data":${data}}]}`);
    const answer = await http.send('POST', affineRoute, body);
    expectHttpRefusal(answer, 'REQUEST_TOO_LARGE', /The body has 400000\d\d bytes; at most 1048576 are accepted\./);
    await expectGoodHttp();
  });
});

test('hundreds of bad requests among hundreds of good ones: each good one has its own right answer', async () => {
  const messages = badRequests.map(({ request }) => encodeInferRequest(request));
  const cut = encodeInferRequest(affine([x])).subarray(0, -3);
  const calls = Array.from({ length: 600 }, async (_, i) => {
    if (i % 2 === 1) {
      expect(Buffer.isBuffer(await ask(messages[i % messages.length] ?? cut))).toBe(false);
      return;
    }
    const answer = await ask(encodeInferRequest(affine([tensor('x', [1, 4], [i, i + 1, i + 2, i + 3])])));
    expect(Buffer.isBuffer(answer), JSON.stringify(answer)).toBe(true);
    const [output] = decodeInferResponse(answer as Buffer).outputs;
    expect(elementsOf(output as Tensor)).toEqual([2 * i + 1, 2 * i + 3, 2 * i + 5, 2 * i + 7]);
  });
  await Promise.all(calls);
});

test('strings of every kind pass: empty, long, and in any script', async () => {
  const texts = ['', 'a', '模型不存在😀', 'x'.repeat(100_000), '\u0001\u007f'];
  const data = bytesOfStrings(texts);
  const input: Tensor = { name: 'x', datatype: 'BYTES', shape: [texts.length, 1], data };
  const answer = await ask(encodeInferRequest(inferRequest('bytes', [input])));
  expect(Buffer.isBuffer(answer), JSON.stringify(answer)).toBe(true);
  const [output] = decodeInferResponse(answer as Buffer).outputs;
  expect(Buffer.compare(output?.data ?? Buffer.alloc(0), data)).toBe(0);
});
