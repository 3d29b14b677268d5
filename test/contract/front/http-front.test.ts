import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HttpFront } from '../../../coordinator/front/http-front.js';
import { type ErrorCode, errorKinds } from '../../../core/errors.js';
import { echo, echoStatistics, FailureLog, inferRequest, keepingLogger, ScriptedService } from './scripted-service.js';

const maxMessageBytes = 100_000;

let service: ScriptedService;
let failures: FailureLog;
let log: ReturnType<typeof keepingLogger>;
let front: HttpFront;
let port: number;
let url: string;

beforeEach(async () => {
  service = new ScriptedService();
  failures = new FailureLog();
  log = keepingLogger();
  front = new HttpFront({
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
  url = `http://127.0.0.1:${port}`;
});

afterEach(() => front.drain(1000));

interface Body {
  readonly error: string;
  readonly code: string;
  readonly parameters: Record<string, unknown>;
}

async function get(path: string) {
  const response = await fetch(url + path);
  return { status: response.status, body: (await response.json()) as Body };
}

const inputs = [{ name: 'x', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, 4] }];

async function post(path: string, body: unknown = { id: 'call-7', inputs }, init: RequestInit = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(url + path, { method: 'POST', body: text, ...init });
  return { status: response.status, headers: response.headers, body: (await response.json()) as Body };
}

describe('infer', () => {
  test('JSON tensors go in and come back, with the id and the receipt', async () => {
    const { status, headers, body } = await post('/v2/models/echo/infer');
    expect(status).toBe(200);
    expect(headers.get('content-type')).toMatch(/^application\/json/);
    expect(headers.get('shoal-timing')).toMatch(
      /^queue=12;batch_wait=0;input=3;execute=840;output=2;rows=16;padded=0;version=1;/,
    );
    expect(body).toEqual({
      model_name: 'echo',
      model_version: '2',
      id: 'call-7',
      outputs: [{ name: 'x_out', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, 4] }],
    });
    expect(service.seen[0]?.request).toMatchObject({ model: 'echo', version: '', id: 'call-7' });
  });

  test('version, parameters, trace and caller reach the service; the receipt comes back on demand', async () => {
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const { body } = await post(
      '/v2/models/m%C3%B6del%2Fx/versions/2/infer',
      { inputs, parameters: { timeout: 1000, shoal_timing: true } },
      { headers: { traceparent, 'x-shoal-caller': 'tests', 'content-type': 'text/odd' } },
    );
    expect(body.parameters).toMatchObject({ shoal_execute_us: 840, shoal_batch_rows: 16 });
    const [call] = service.seen;
    expect(call?.request).toMatchObject({ model: 'mödel/x', version: '2', parameters: { timeout: 1000 } });
    expect(call?.context).toMatchObject({ traceparent, caller: 'tests', deadlineMs: Number.POSITIVE_INFINITY });
  });

  test.each(Object.keys(errorKinds) as ErrorCode[])('%s has its status and sentence', async (code) => {
    service.retryAfterMs = code === 'QUEUE_FULL' ? 1250 : undefined;
    const { status, headers, body } = await post(`/v2/models/${code}/infer`);
    const { http, advice } = errorKinds[code];
    expect(status).toBe(http);
    expect(body.code).toBe(code);
    if (code === 'INTERNAL') expect(body.error).toMatch(/^The request met its fate\. Incident [0-9a-f]{8}\. Report/);
    else expect(body.error).toBe(`The request met its fate. ${advice}`);
    expect(headers.get('retry-after')).toBe(code === 'QUEUE_FULL' ? '2' : null);
  });

  test.each(['throw', 'bug'])('an unforeseen failure (%s) has an incident the log knows', async (model) => {
    const { status, body } = await post(`/v2/models/${model}/infer`);
    expect(status).toBe(500);
    const incident = /Incident ([0-9a-f]{8})\./.exec(body.error)?.[1];
    expect(incident).toBeDefined();
    expect(log.lines.find((line) => line.includes(incident ?? 'none'))).toContain('scripted-service.ts');
  });

  test('a caller that hangs up gives the request up', async () => {
    const hangUp = new AbortController();
    const call = post('/v2/models/hold/infer', undefined, { signal: hangUp.signal }).catch((thrown: Error) => thrown);
    await expect.poll(() => service.held.length).toBe(1);
    expect(service.cancels).toBe(0);
    hangUp.abort();
    expect(await call).toMatchObject({ name: 'AbortError' });
    await expect.poll(() => service.cancels).toBe(1);
    service.held[0]?.(echo(inferRequest('hold')));
    expect((await post('/v2/models/echo/infer')).status).toBe(200);
    expect(service.cancels).toBe(1);
  });

  test.each([
    ['{"inputs": [', /not JSON/],
    ['', /must be a JSON object|not JSON/],
    ['[]', /must be a JSON object/],
    ['{"inputs": [{"name": "x", "datatype": "FP31", "shape": [1], "data": [1]}]}', /'FP31'/],
    ['{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1]}]}', /has 1 elements; expected 2/],
  ])('the body %s is an invalid request', async (text, sentence) => {
    const { status, body } = await post('/v2/models/echo/infer', text);
    expect(status).toBe(400);
    expect(body).toMatchObject({ code: 'INVALID_REQUEST', error: expect.stringMatching(sentence) });
    expect((await post('/v2/models/echo/infer')).status).toBe(200);
    expect(service.seen).toHaveLength(1);
    expect(failures.codes).toEqual(['INVALID_REQUEST']);
  });

  test('binary tensors are refused by name', async () => {
    const headers = { 'inference-header-content-length': '20' };
    const { status, body } = await post('/v2/models/echo/infer', 'whatever', { headers });
    expect(status).toBe(501);
    expect(body).toMatchObject({ code: 'UNSUPPORTED', error: expect.stringContaining('gRPC') });
  });

  test('a body over the limit is refused with both sizes', async () => {
    const { status, body } = await post('/v2/models/echo/infer', 'x'.repeat(200_000));
    expect(status).toBe(413);
    expect(body.code).toBe('REQUEST_TOO_LARGE');
    expect(body.error).toMatch(/^The body has 200000 bytes; at most 100000 are accepted\. Send fewer rows/);
    expect((await post('/v2/models/echo/infer')).status).toBe(200);
  });
});

describe('the rest of the core', () => {
  test('live, ready and metadata', async () => {
    expect(await get('/v2/health/live')).toEqual({ status: 200, body: { live: true } });
    expect(await get('/v2/health/ready')).toEqual({ status: 200, body: { ready: true } });
    expect(await get('/v2')).toEqual({
      status: 200,
      body: { name: 'shoal', version: '1.2.3', extensions: ['statistics'] },
    });
    expect(await get('/v2/')).toMatchObject({ status: 200 });
    expect(await get('/v2/models/echo/ready')).toEqual({ status: 200, body: { name: 'echo', ready: true } });
    for (const path of ['/v2/models/echo', '/v2/models/echo/versions/2']) {
      expect(await get(path)).toEqual({
        status: 200,
        body: {
          name: 'echo',
          versions: ['1', '2'],
          platform: 'onnxruntime_onnx',
          inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
          outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
        },
      });
    }
    service.isReady = false;
    expect((await get('/v2/health/live')).status).toBe(200);
    expect(await get('/v2/health/ready')).toEqual({ status: 503, body: { ready: false } });
    expect((await get('/v2/models/echo/versions/2/ready')).status).toBe(503);
  });

  test('statistics, of all models or of one', async () => {
    for (const path of ['/v2/models/stats', '/v2/models/echo/stats', '/v2/models/echo/versions/2/stats']) {
      expect(await get(path)).toEqual({ status: 200, body: { model_stats: [echoStatistics] } });
    }
    expect(await get('/v2/models/nobody/stats')).toMatchObject({ status: 404, body: { code: 'MODEL_NOT_FOUND' } });
    expect(await get('/v2/models/echo/versions/9/stats')).toMatchObject({
      status: 404,
      body: { code: 'VERSION_NOT_FOUND' },
    });
  });

  test('what is not there is not found', async () => {
    expect(await get('/v2/models/nobody')).toMatchObject({ status: 404, body: { code: 'MODEL_NOT_FOUND' } });
    expect(await get('/v2/models/nobody/ready')).toMatchObject({ status: 404, body: { code: 'MODEL_NOT_FOUND' } });
    expect(await get('/v2/models/echo/versions/9')).toMatchObject({ status: 404, body: { code: 'VERSION_NOT_FOUND' } });
    expect(await get('/v3/anything')).toEqual({
      status: 404,
      body: {
        code: 'ROUTE_NOT_FOUND',
        error: `There is no GET /v3/anything here. ${errorKinds.ROUTE_NOT_FOUND.advice}`,
      },
    });
    expect(await get('/v2/models/echo/infer')).toMatchObject({ status: 404, body: { code: 'ROUTE_NOT_FOUND' } });
    expect(await get('/v2/models/%E0%A4%A')).toMatchObject({ status: 400, body: { code: 'INVALID_REQUEST' } });
  });

  test('bytes that are not HTTP get an answer that is', async () => {
    const socket = connect(port, '127.0.0.1');
    let heard = '';
    socket.on('data', (bytes: Buffer) => {
      heard += bytes.toString();
    });
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(heard).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(JSON.parse(heard.slice(heard.indexOf('\r\n\r\n')))).toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

test('a port that is taken is a bad setting that names port and flag', async () => {
  const { logger } = log;
  const second = new HttpFront({
    service,
    statistics: service,
    logger,
    softwareVersion: '1.2.3',
    host: '127.0.0.1',
    port,
  });
  await expect(second.start()).rejects.toMatchObject({
    code: 'BAD_SETTING',
    message: `Cannot listen on port ${port} on 127.0.0.1 (--http-port): another process has it.`,
  });
});

describe('drain', () => {
  test('finishes what is under way and takes nothing new', async () => {
    const underWay = post('/v2/models/hold/infer');
    await expect.poll(() => service.held.length).toBe(1);
    const drained = front.drain(10_000);
    await expect.poll(() => get('/v2').catch(() => 'refused')).toBe('refused');
    service.held[0]?.(echo(inferRequest('hold')));
    expect((await underWay).status).toBe(200);
    await drained;
  });

  test('answers DRAINING to what is left after the grace period', async () => {
    const underWay = post('/v2/models/hold/infer');
    await expect.poll(() => service.held.length).toBe(1);
    await front.drain(20);
    expect(await underWay).toMatchObject({ status: 503, body: { code: 'DRAINING' } });
    service.held[0]?.(echo(inferRequest('hold')));
  });
});
