import { EventEmitter, once } from 'node:events';
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import type { InferRequest } from '../../../core/inference.js';
import { serverOptions } from '../../../platform/grpc-options.js';
import { OipClient } from '../../../platform/oip/client.js';
import { encodeStatusDetails, statusDetailsTrailer } from '../../../platform/oip/error-details.js';
import { decodeInferRequest } from '../../../platform/oip/request.js';
import { encodeInferResponse } from '../../../platform/oip/response.js';
import { oipService } from '../../../platform/oip/service.js';

const receipt = {
  queueUs: 0,
  batchWaitUs: 0,
  inputUs: 0,
  executeUs: 0,
  outputUs: 0,
  batchRows: 1,
  paddedRows: 0,
  version: '1',
  worker: 'w',
  instance: 'i',
  attempt: 1,
};

type InferCall = ServerUnaryCall<Buffer, Buffer>;

/** Answers with the inputs; model `full` fails with details, `bare` without, `silent` never answers. */
function modelInfer(events: EventEmitter) {
  return (call: InferCall, reply: sendUnaryData<Buffer>): void => {
    let request: InferRequest;
    try {
      request = decodeInferRequest(call.request);
    } catch (thrown) {
      const error = ShoalError.from(thrown);
      reply({ code: error.kind.grpc, details: error.message });
      return;
    }
    if (request.model === 'silent') {
      call.on('cancelled', () => events.emit('cancelled'));
      events.emit('arrived', call.getDeadline());
    } else if (request.model === 'full') {
      const error = new ShoalError('QUEUE_FULL', 'The queue is full.', { retryAfterMs: 20 });
      const metadata = new Metadata();
      metadata.set(statusDetailsTrailer, encodeStatusDetails(error));
      reply({ code: error.kind.grpc, details: error.message, metadata });
    } else if (request.model === 'bare') {
      reply({ code: 5, details: 'unknown model' });
    } else {
      const outputs = request.inputs.map((input) => ({ ...input, parts: [input.data], byteLength: input.data.length }));
      const [traceparent = ''] = call.metadata.get('traceparent');
      const { model, id } = request;
      reply(null, encodeInferResponse({ model, version: '1', id, outputs, receipt }, { trace: String(traceparent) }));
    }
  };
}

const requestFor = (model: string, bytes = 8): InferRequest => ({
  model,
  version: '',
  id: 'an id',
  parameters: {},
  inputs: [{ name: 'x', datatype: 'UINT8', shape: [bytes], data: new Uint8Array(bytes).fill(7) }],
  outputs: [],
});

describe('OipClient against a grpc-js server', () => {
  const events = new EventEmitter();
  let server: Server;
  let client: OipClient;

  beforeEach(async () => {
    server = new Server(serverOptions());
    const metadata = {
      name: 'm',
      versions: ['1', '2'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 3] }],
      outputs: [],
    };
    const handlers: UntypedServiceImplementation = {
      ModelInfer: modelInfer(events),
      ServerLive: (_call: unknown, reply: sendUnaryData<object>) => reply(null, { live: true }),
      ServerReady: (_call: unknown, reply: sendUnaryData<object>) => reply(null, { ready: false }),
      ServerMetadata: (_call: unknown, reply: sendUnaryData<object>) =>
        reply(null, { name: 'shoal', version: '1.2', extensions: ['a'] }),
      ModelReady: (call: ServerUnaryCall<{ name: string; version: string }, object>, reply: sendUnaryData<object>) =>
        reply(null, { ready: call.request.name === 'm' && call.request.version === '2' }),
      ModelMetadata: (_call: unknown, reply: sendUnaryData<object>) => reply(null, metadata),
    };
    server.addService(oipService, handlers);
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (failure, bound) =>
        failure === null ? resolve(bound) : reject(failure),
      );
    });
    client = new OipClient(`127.0.0.1:${port}`);
  });

  afterEach(() => {
    client.close();
    server.forceShutdown();
  });

  it('gets its tensors back, also 20 MB of them', async () => {
    await client.connected(5000);
    const answer = await client.infer(requestFor('echo'), { metadata: { traceparent: '00-abc' } });
    expect(answer).toMatchObject({ model: 'echo', version: '1', id: 'an id' });
    expect({ ...answer.parameters }).toEqual({ trace: '00-abc' });
    expect(answer.outputs.map(({ name, shape, data }) => [name, shape, [...data]])).toEqual([
      ['x', [8], [7, 7, 7, 7, 7, 7, 7, 7]],
    ]);
    const large = await client.infer(requestFor('echo', 20_000_000));
    expect(large.outputs[0]?.data.length).toBe(20_000_000);
  });

  it('asks the small questions', async () => {
    expect(await client.serverLive()).toBe(true);
    expect(await client.serverReady()).toBe(false);
    expect(await client.serverMetadata()).toEqual({ name: 'shoal', version: '1.2', extensions: ['a'] });
    expect(await client.modelReady('m', '2')).toBe(true);
    expect(await client.modelReady('m')).toBe(false);
    expect(await client.modelMetadata('m')).toEqual({
      name: 'm',
      versions: ['1', '2'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 3] }],
      outputs: [],
    });
  });

  it('meets an error as the server meant it', async () => {
    await expect(client.infer(requestFor('full'))).rejects.toMatchObject({
      name: 'ShoalError',
      code: 'QUEUE_FULL',
      message: 'The queue is full.',
      retryAfterMs: 20,
    });
    await expect(client.infer(requestFor('bare'))).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: 'unknown model',
    });
  });

  it('hands a message that is not protobuf to the handler, not to grpc-js', async () => {
    await expect(client.inferEncoded(Buffer.from('not protobuf'))).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringMatching(/^The request is not a valid protobuf message: .* at byte \d+\.$/),
    });
    expect((await client.infer(requestFor('echo'))).id).toBe('an id');
  });

  it('sends its time limit as the deadline and gives up at it', async () => {
    const arrived = once(events, 'arrived') as Promise<[Date | number]>;
    const answer = client.infer(requestFor('silent'), { timeoutMs: 300 });
    await expect(answer).rejects.toMatchObject({ code: 'DEADLINE_EXPIRED' });
    const [deadline] = await arrived;
    expect(Number(deadline)).toBeLessThan(Number.POSITIVE_INFINITY);
  });

  it('cancels at the server too', async () => {
    const arrived = once(events, 'arrived');
    const cancelled = once(events, 'cancelled');
    const controller = new AbortController();
    const answer = client.infer(requestFor('silent'), { signal: controller.signal });
    answer.catch(() => 'looked at below');
    await arrived;
    controller.abort();
    await expect(answer).rejects.toMatchObject({ code: 'CANCELLED' });
    await cancelled;
    await expect(client.infer(requestFor('echo'), { signal: controller.signal })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
  });

  it('says when nobody is there', async () => {
    server.forceShutdown();
    const nobody = new OipClient(client.address, { 'grpc.use_local_subchannel_pool': 1 });
    await expect(nobody.connected(100)).rejects.toMatchObject({
      code: 'MODEL_NOT_READY',
      message: `No connection to ${client.address} within 100 ms.`,
    });
    await expect(nobody.infer(requestFor('echo'))).rejects.toMatchObject({ code: 'MODEL_NOT_READY' });
    nobody.close();
  });
});
