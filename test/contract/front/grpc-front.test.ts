import { connect } from 'node:http2';
import { Client, credentials, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GrpcFront } from '../../../coordinator/front/grpc-front.js';
import { systemClock } from '../../../core/clock.js';
import { type ErrorCode, errorKinds } from '../../../core/errors.js';
import { OipClient } from '../../../platform/oip/client.js';
import { encodeInferRequest } from '../../../platform/oip/request.js';
import { oipMethod, oipService } from '../../../platform/oip/service.js';
import { routeGrpcLogs } from '../../../platform/telemetry/grpc-logging.js';
import { createLogger } from '../../../platform/telemetry/logger.js';
import { echo, echoStatistics, FailureLog, inferRequest, keepingLogger, ScriptedService } from './scripted-service.js';

const maxMessageBytes = 100_000;

// A port that is taken makes grpc-js print a line of its own.
routeGrpcLogs(createLogger({ level: 'silent' }));

let service: ScriptedService;
let failures: FailureLog;
let log: ReturnType<typeof keepingLogger>;
let front: GrpcFront;
let port: number;
let client: OipClient;

beforeEach(async () => {
  service = new ScriptedService();
  failures = new FailureLog();
  log = keepingLogger();
  front = new GrpcFront({
    service,
    statistics: service,
    logger: log.logger,
    softwareVersion: '1.2.3',
    host: '127.0.0.1',
    port: 0,
    maxMessageBytes,
    observer: failures,
  });
  ({ port } = await front.start());
  client = new OipClient(`127.0.0.1:${port}`, { 'grpc.use_local_subchannel_pool': 1 });
});

afterEach(async () => {
  client.close();
  await front.drain(1000);
});

/** A call as grpc-js reports it, with trailers, whether it failed or not. */
function rawInfer(message: Buffer, options: { deadline?: number } = {}) {
  const raw = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const { path, requestSerialize, responseDeserialize } = oipService.ModelInfer as MethodDefinition<Buffer, Buffer>;
  return new Promise<{ error: ServiceError | null; trailer(name: string): unknown }>((resolve) => {
    let outcome: ServiceError | null = null;
    const call = raw.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, options, (error) => {
      outcome = error;
    });
    call.on('status', ({ metadata }) => {
      raw.close();
      resolve({ error: outcome, trailer: (name) => metadata.get(name)[0] });
    });
  });
}

const encoded = (model: string): Buffer => encodeInferRequest(inferRequest(model));

/** google.rpc, read by another decoder than ours. */
const rpc = protobuf.parse(
  `syntax = "proto3"; package google.rpc;
   message Any { string type_url = 1; bytes value = 2; }
   message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
   message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
   message Duration { int64 seconds = 1; int32 nanos = 2; }
   message RetryInfo { Duration retry_delay = 1; }`,
  { keepCase: true },
).root;

function readDetails(bytes: unknown) {
  const status = rpc.lookupType('google.rpc.Status').decode(bytes as Buffer) as unknown as {
    code: number;
    message: string;
    details: { type_url: string; value: Uint8Array }[];
  };
  const find = (name: string): Record<string, unknown> | undefined => {
    const any = status.details.find(({ type_url }) => type_url === `type.googleapis.com/google.rpc.${name}`);
    const type = rpc.lookupType(`google.rpc.${name}`);
    return any && type.toObject(type.decode(any.value), { longs: Number });
  };
  return { status, errorInfo: find('ErrorInfo'), retryInfo: find('RetryInfo') };
}

describe('ModelInfer', () => {
  test('tensors go in and come back, with the id and the receipt', async () => {
    const answer = await client.infer(inferRequest('echo'));
    expect(answer).toMatchObject({ model: 'echo', version: '2', id: 'call-7', parameters: {} });
    expect(answer.outputs[0]).toMatchObject({ name: 'x_out', datatype: 'FP32', shape: [2, 2] });
    expect(new Float32Array(new Uint8Array(answer.outputs[0]?.data ?? []).buffer)).toEqual(Float32Array.of(1, 2, 3, 4));
    const { error, trailer } = await rawInfer(encoded('echo'));
    expect(error).toBeNull();
    expect(trailer('shoal-timing')).toBe(
      'queue=12;batch_wait=0;input=3;execute=840;output=2;rows=16;padded=0;version=1;worker=w_rker_1;instance=cpu-0;attempt=1',
    );
  });

  test('the receipt is among the parameters for whoever asks', async () => {
    const { parameters } = await client.infer(inferRequest('echo', { parameters: { shoal_timing: true } }));
    expect(parameters).toMatchObject({
      shoal_queue_us: 12,
      shoal_execute_us: 840,
      shoal_batch_rows: 16,
      shoal_worker: 'wörker;1',
      shoal_attempt: 1,
    });
  });

  test('the call’s context reaches the service', async () => {
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    await client.infer(inferRequest('echo'), { metadata: { traceparent, 'x-shoal-caller': 'tests' }, timeoutMs: 5000 });
    await client.infer(inferRequest('echo'), { metadata: { traceparent: 'nonsense' } });
    const [first, second] = service.seen.map(({ context }) => context);
    expect(first).toMatchObject({ traceparent, caller: 'tests' });
    const budgetMs = (first?.deadlineMs ?? 0) - (first?.arrivedMs ?? 0);
    expect(budgetMs).toBeGreaterThan(3000);
    expect(budgetMs).toBeLessThanOrEqual(5001);
    expect(Math.abs((first?.arrivedMs ?? 0) - systemClock.nowMs())).toBeLessThan(5000);
    expect(second).toMatchObject({ traceparent: '', deadlineMs: Number.POSITIVE_INFINITY });
    expect(second?.caller).toMatch(/^127\.0\.0\.1$/);
  });

  test.each(Object.keys(errorKinds) as ErrorCode[])('%s has its status, sentence and details', async (code) => {
    service.retryAfterMs = code === 'QUEUE_FULL' ? 1250 : undefined;
    const { error, trailer } = await rawInfer(encoded(code));
    const { grpc, advice } = errorKinds[code];
    expect(error?.code).toBe(grpc);
    if (code === 'INTERNAL')
      expect(error?.details).toMatch(/^The request met its fate\. Incident [0-9a-f]{8}\. Report/);
    else expect(error?.details).toBe(`The request met its fate. ${advice}`);
    expect(trailer('shoal-error')).toBe(code);
    const { status, errorInfo, retryInfo } = readDetails(trailer('grpc-status-details-bin'));
    expect(status.code).toBe(grpc);
    expect(status.message).toContain('The request met its fate.');
    expect(errorInfo).toMatchObject({ reason: code, domain: 'shoal' });
    if (code === 'QUEUE_FULL') expect(retryInfo).toEqual({ retry_delay: { seconds: 1, nanos: 250_000_000 } });
    else expect(retryInfo).toBeUndefined();
  });

  test.each(['throw', 'bug'])(
    'an unforeseen failure (%s) ends as INTERNAL with an incident the log knows',
    async (model) => {
      const { error, trailer } = await rawInfer(encoded(model));
      expect(trailer('shoal-error')).toBe('INTERNAL');
      const incident = /Incident ([0-9a-f]{8})\./.exec(error?.details ?? '')?.[1];
      expect(incident).toBeDefined();
      const line = log.lines.find((text) => text.includes(incident ?? 'none'));
      expect(line).toContain('scripted-service.ts');
    },
  );

  test('a long sentence in any script fits the trailers', async () => {
    service.message = `${'模型不存在😀'.repeat(500)}\ud800`;
    const { error } = await rawInfer(encoded('MODEL_NOT_FOUND'));
    expect(error?.code).toBe(5);
    expect(error?.details).toMatch(/^模型不存在😀.* … List the served models/u);
  });

  test('a caller that hangs up gives the request up', async () => {
    const hangUp = new AbortController();
    const call = client.infer(inferRequest('hold'), { signal: hangUp.signal });
    await expect.poll(() => service.held.length).toBe(1);
    expect(service.cancels).toBe(0);
    hangUp.abort();
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect.poll(() => service.cancels).toBe(1);
    service.held[0]?.(echo(inferRequest('hold')));
    expect((await client.infer(inferRequest('echo'))).id).toBe('call-7');
    expect(service.cancels).toBe(1);
  });

  test('an answer is never followed by a cancellation', async () => {
    for (let i = 0; i < 20; i++) await client.infer(inferRequest('echo'));
    await expect(client.infer(inferRequest('QUEUE_FULL'))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    expect(service.cancels).toBe(0);
  });

  test('bytes that are not protobuf are refused with a sentence, and the next request is served', async () => {
    const error = await client.inferEncoded(Buffer.from('this is no message')).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await client.infer(inferRequest('echo'))).id).toBe('call-7');
    expect(failures.codes).toEqual(['INVALID_REQUEST']);
    expect(service.seen).toHaveLength(1);
  });

  test('a message over the limit is refused with both sizes, and the next request is served', async () => {
    const big = inferRequest('echo', {
      inputs: [{ name: 'x', datatype: 'UINT8', shape: [8_000_000], data: new Uint8Array(8_000_000) }],
    });
    await expect(client.infer(big)).rejects.toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: expect.stringMatching(
        /^The request message has 80000\d\d bytes; at most 100000 are accepted\. Send fewer rows.*--max-message-bytes/,
      ),
    });
    expect((await client.infer(inferRequest('echo'))).id).toBe('call-7');
    expect(failures.codes).toEqual(['REQUEST_TOO_LARGE']);
  });

  test('an answer may be larger than the largest request', async () => {
    const call = client.infer(inferRequest('hold'));
    await expect.poll(() => service.held.length).toBe(1);
    const data = new Uint8Array(3_000_000);
    service.held[0]?.(
      echo(inferRequest('hold', { inputs: [{ name: 'x', datatype: 'UINT8', shape: [3_000_000], data }] })),
    );
    expect((await call).outputs[0]?.data.length).toBe(3_000_000);
  });
});

/** Speaks HTTP/2 itself, so that no client library answers in the server's place. */
async function rawCall(path: string, body: Buffer, headers: Record<string, string> = {}) {
  const session = connect(`http://127.0.0.1:${port}`);
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(body.length, 1);
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const trailers = await new Promise<Record<string, unknown>>((resolve, reject) => {
    stream.on('error', reject);
    stream.on('response', (head) => 'grpc-status' in head && resolve(head));
    stream.on('trailers', resolve);
    stream.resume();
    stream.end(Buffer.concat([frame, body]));
  });
  await new Promise<void>((resolve) => session.close(resolve));
  return trailers;
}

describe('what the transport refuses', () => {
  test('a small call that is not protobuf is an invalid request', async () => {
    const trailers = await rawCall(oipMethod.ModelMetadata, Buffer.from([0x0a, 0xff, 0xff, 0xff]));
    expect(trailers).toMatchObject({ 'grpc-status': '3', 'shoal-error': 'INVALID_REQUEST' });
  });

  test('a message that says it is compressed and is not is an invalid request', async () => {
    const session = connect(`http://127.0.0.1:${port}`);
    const stream = session.request({
      ':method': 'POST',
      ':path': oipMethod.ModelInfer,
      'content-type': 'application/grpc',
      'grpc-encoding': 'gzip',
      te: 'trailers',
    });
    const head = await new Promise<Record<string, unknown>>((resolve) => {
      stream.on('response', resolve);
      stream.resume();
      stream.end(Buffer.from([1, 0, 0, 0, 3, 9, 9, 9]));
    });
    expect(head).toMatchObject({ 'grpc-status': '3', 'shoal-error': 'INVALID_REQUEST' });
    await new Promise<void>((resolve) => session.close(resolve));
  });
});

describe('the small calls', () => {
  test('live, ready and metadata', async () => {
    expect(await client.serverLive()).toBe(true);
    expect(await client.serverReady()).toBe(true);
    expect(await client.modelReady('echo')).toBe(true);
    expect(await client.modelReady('nobody')).toBe(false);
    expect(await client.serverMetadata()).toEqual({ name: 'shoal', version: '1.2.3', extensions: ['statistics'] });
    expect(await client.modelMetadata('echo', '2')).toEqual({
      name: 'echo',
      versions: ['1', '2'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
    });
    service.isReady = false;
    expect(await client.serverLive()).toBe(true);
    expect(await client.serverReady()).toBe(false);
    expect(await client.modelReady('echo')).toBe(false);
  });

  test('statistics, of all models or of one', async () => {
    for (const [model, version] of [[''], ['echo'], ['echo', '2']]) {
      expect(await client.modelStatistics(model, version)).toMatchObject([echoStatistics]);
    }
    await expect(client.modelStatistics('nobody')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    await expect(client.modelStatistics('echo', '9')).rejects.toMatchObject({ code: 'VERSION_NOT_FOUND' });
  });

  test("statistics have Triton's field numbers", async () => {
    // Wire types and numbers of Triton's grpc_service.proto, written down apart from our own file.
    const triton = protobuf.parse(
      `syntax = "proto3";
      message D { uint64 count = 1; uint64 ns = 2; }
      message I { D success = 1; D fail = 2; D queue = 3; D compute_input = 4; D compute_infer = 5; D compute_output = 6;
                  D cache_hit = 7; D cache_miss = 8; }
      message B { uint64 batch_size = 1; D compute_input = 2; D compute_infer = 3; D compute_output = 4; }
      message S { string name = 1; string version = 2; uint64 last_inference = 3; uint64 inference_count = 4;
                  uint64 execution_count = 5; I inference_stats = 6; repeated B batch_stats = 7; }
      message Request { string name = 1; string version = 2; }
      message Response { repeated S model_stats = 1; }`,
      { keepCase: true },
    ).root;
    const request = triton.lookupType('Request');
    const message = Buffer.from(request.encode({ name: 'echo', version: '2' }).finish());
    const plain = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const asIs = (bytes: Buffer): Buffer => bytes;
    const answer = await new Promise<Buffer>((resolve, reject) =>
      plain.makeUnaryRequest(oipMethod.ModelStatistics, asIs, asIs, message, (failure, body) => {
        if (body === undefined) reject(failure);
        else resolve(body);
      }),
    );
    plain.close();
    const response = triton.lookupType('Response');
    expect(response.toObject(response.decode(answer), { longs: Number, arrays: true })).toEqual({
      model_stats: [echoStatistics],
    });
  });

  test('what is not there is not found', async () => {
    await expect(client.modelMetadata('nobody')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    await expect(client.modelMetadata('echo', '9')).rejects.toMatchObject({ code: 'VERSION_NOT_FOUND' });
  });
});

test('a port that is taken is a bad setting that names port and flag', async () => {
  const second = new GrpcFront({
    service,
    statistics: service,
    logger: log.logger,
    softwareVersion: '1.2.3',
    host: '127.0.0.1',
    port,
  });
  await expect(second.start()).rejects.toMatchObject({
    code: 'BAD_SETTING',
    message: `Cannot listen on port ${port} on 127.0.0.1 (--grpc-port): another process has it.`,
  });
});

describe('drain', () => {
  test('finishes what is under way and takes nothing new', async () => {
    const underWay = client.infer(inferRequest('hold'));
    await expect.poll(() => service.held.length).toBe(1);
    const drained = front.drain(10_000);
    const late = new OipClient(`127.0.0.1:${port}`, { 'grpc.use_local_subchannel_pool': 1 });
    await expect(late.infer(inferRequest('echo'))).rejects.toMatchObject({ cause: { code: 14 } });
    late.close();
    service.held[0]?.(echo(inferRequest('hold')));
    expect((await underWay).id).toBe('call-7');
    await drained;
  });

  test('answers DRAINING to what is left after the grace period', async () => {
    const underWay = client.infer(inferRequest('hold')).catch((thrown: unknown) => thrown);
    await expect.poll(() => service.held.length).toBe(1);
    await front.drain(20);
    expect(await underWay).toMatchObject({ code: 'DRAINING' });
    await expect.poll(() => service.cancels).toBe(1);
    service.held[0]?.(echo(inferRequest('hold')));
    expect(log.lines.join('')).toContain('outlasted the grace period');
  });
});
