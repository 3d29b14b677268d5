import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { ShoalError } from '../core/errors.js';
import { elementCount, type Tensor } from '../core/tensor.js';
import { serverOptions } from '../platform/grpc-options.js';
import { encodeInferResponse } from '../platform/oip/response.js';
import { type EmptyMessage, type ModelMetadataResponse, oipService } from '../platform/oip/service.js';

export interface NullServerOptions {
  /** `host:port` to listen at; port 0 chooses one. */
  readonly address: string;
  /** Called for every ModelInfer with the way to answer it. Default: at once. Tests make servers that stall. */
  readonly answerWhen?: (answer: () => void) => void;
}

export interface NullServer {
  readonly port: number;
  close(): void;
}

const input = { name: 'x', datatype: 'FP32', shape: [-1, 64] };
const output = { name: 'y', datatype: 'FP32', shape: [1, 10] } as const satisfies Omit<Tensor, 'data'>;

const metadata: ModelMetadataResponse = {
  name: 'null',
  versions: ['1'],
  platform: 'null',
  inputs: [input],
  outputs: [{ ...output, shape: [-1, 10] }],
};

/** The same message for every request: one row of zeros. */
function fixedAnswer(): Buffer {
  const data = new Uint8Array(elementCount(output.shape) * 4);
  return encodeInferResponse({
    model: 'null',
    version: '1',
    id: '',
    outputs: [{ ...output, parts: [data], byteLength: data.length }],
    receipt: {
      queueUs: 0,
      batchWaitUs: 0,
      inputUs: 0,
      executeUs: 0,
      outputUs: 0,
      batchRows: 1,
      paddedRows: 0,
      version: '1',
      worker: 'null',
      instance: 'null',
      attempt: 1,
    },
  });
}

/**
 * An OIP server that does nothing and answers the same bytes at once, whatever is asked: what the harness
 * reaches against it is the harness's own limit (and grpc-js's).
 * @throws BAD_SETTING when the address cannot be listened at
 */
export function startNullServer(options: NullServerOptions): Promise<NullServer> {
  const answer = fixedAnswer();
  const answerWhen = options.answerWhen ?? ((reply: () => void) => reply());
  const server = new Server(serverOptions());
  server.addService(oipService, {
    ServerLive: (_call: unknown, reply: sendUnaryData<object>) => reply(null, { live: true }),
    ServerReady: (_call: unknown, reply: sendUnaryData<object>) => reply(null, { ready: true }),
    ModelReady: (_call: unknown, reply: sendUnaryData<object>) => reply(null, { ready: true }),
    ServerMetadata: (_call: ServerUnaryCall<EmptyMessage, object>, reply: sendUnaryData<object>) =>
      reply(null, { name: 'null', version: '1', extensions: [] }),
    ModelMetadata: (_call: unknown, reply: sendUnaryData<object>) => reply(null, metadata),
    ModelInfer: (_call: unknown, reply: sendUnaryData<Buffer>) => answerWhen(() => reply(null, answer)),
  });
  return new Promise((resolve, reject) => {
    server.bindAsync(options.address, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve({ port, close: () => server.forceShutdown() });
      else reject(new ShoalError('BAD_SETTING', `Cannot listen at ${options.address}: ${error.message}`));
    });
  });
}
