import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { wallClockMs } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import type { CallDone, Caller } from './load.js';

export const inferPath = '/inference.GRPCInferenceService/ModelInfer';

const asIs = (bytes: Buffer): Buffer => bytes;

/** 8 MiB of flow-control window: large tensors are not to wait for window updates of the harness. */
const channelOptions = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc-node.flow_control_window': 8 * 1024 * 1024,
};

export const codeName = (code: number): string => status[code] ?? `CODE_${code}`;

/** One connection that sends ready-made ModelInfer messages. */
export class InferCaller implements Caller {
  readonly #client: Client;
  readonly #metadata = new Metadata();
  readonly #server: string;

  constructor(server: string) {
    this.#server = server;
    this.#client = new Client(server, credentials.createInsecure(), channelOptions);
  }

  /** @throws NO_WORKER when nobody listens within `timeoutMs`. */
  connect(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(wallClockMs() + timeoutMs, (error) => {
        if (error === undefined) resolve();
        else
          reject(
            new ShoalError(
              'NO_WORKER',
              `Nobody answers gRPC at ${this.#server}; start a server with \`shoal up\` or name another with --server.`,
              { cause: error },
            ),
          );
      });
    });
  }

  /** The instant `timeoutMs` from now, as `send` takes it. */
  deadlineIn(timeoutMs: number): number {
    return wallClockMs() + timeoutMs;
  }

  send(body: Buffer, deadline: number, done: CallDone): void {
    this.#client.makeUnaryRequest(
      inferPath,
      asIs,
      asIs,
      body,
      this.#metadata,
      deadline === Number.POSITIVE_INFINITY ? {} : { deadline },
      (error, answer) => {
        if (error === null) done('', '', answer);
        else done(codeName(error.code), error.details, undefined);
      },
    );
  }

  close(): void {
    this.#client.close();
  }
}
