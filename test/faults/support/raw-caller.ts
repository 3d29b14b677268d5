import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { encodeInferRequest } from '../../../platform/oip/request.js';
import { numbered } from './load.js';

/** ModelInfer as bytes on the wire: gRPC's five-byte head and the message. */
export function framed(model: string, n: number, rows: number, width: number): Buffer {
  const message = encodeInferRequest(numbered(model, n, rows, width));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** A gRPC caller without manners: it may read nothing, stop in the middle, or leave. */
export class RawCaller {
  readonly #session: ClientHttp2Session;
  readonly #streams = new Set<ClientHttp2Stream>();
  /** Calls for which the server has begun to answer. */
  answering = 0;
  /** Calls that ended, well or not. */
  ended = 0;
  /** Calls that the server turned away before they began: they may be sent again. */
  refused = 0;
  /** gRPC status codes, of calls whose status was read. */
  readonly statuses: string[] = [];

  /** With a window of 0 bytes the server can never send any part of an answer's body. */
  constructor(address: string, windowBytes = 65_535) {
    this.#session = connect(`http://${address}`, {
      maxSessionMemory: 10_000,
      settings: { initialWindowSize: windowBytes },
    });
    this.#session.on('error', () => undefined);
  }

  get open(): number {
    return this.#streams.size;
  }

  /** Sends a call; without `whole` only the first half of it. */
  call(body: Buffer, whole = true): ClientHttp2Stream {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': '/inference.GRPCInferenceService/ModelInfer',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    this.#streams.add(stream);
    stream.on('response', (headers) => {
      this.answering++;
      const status = headers['grpc-status'];
      // A refusal is all headers.
      if (typeof status === 'string') this.statuses.push(status);
    });
    stream.on('error', () => undefined);
    stream.on('close', () => {
      this.#streams.delete(stream);
      if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM) this.refused++;
      this.ended++;
    });
    if (whole) stream.end(body);
    else stream.write(body.subarray(0, body.length / 2));
    return stream;
  }

  hangUp(): void {
    this.#session.destroy();
  }
}
