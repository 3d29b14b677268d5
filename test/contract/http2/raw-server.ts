import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { headerBlock } from '../../../platform/http2/hpack-encoder.js';
import { eventually } from '../../support/eventually.js';
import { endHeaders, endStream, grpcMessage, preface, type RawFrame, rawFrame, settingsFrame } from './raw-peer.js';

// A server of HTTP/2 that says exactly what a test wants, right or wrong, to its one caller.

export const ok: readonly (readonly [string, string])[] = [
  [':status', '200'],
  ['content-type', 'application/grpc'],
];

export const headersOf = (
  streamId: number,
  fields: readonly (readonly [string, string])[],
  flags = endHeaders,
): Buffer => rawFrame(1, flags, streamId, headerBlock(fields));

export const trailersOf = (streamId: number, fields: readonly (readonly [string, string])[] = [['grpc-status', '0']]) =>
  headersOf(streamId, fields, endHeaders | endStream);

/** A whole answer. */
export const answerOf = (streamId: number, message: Uint8Array): Buffer =>
  Buffer.concat([headersOf(streamId, ok), rawFrame(0, 0, streamId, grpcMessage(message)), trailersOf(streamId)]);

export class RawServer {
  readonly port: number;
  readonly frames: RawFrame[] = [];
  isClosed = false;
  readonly #server: Server;
  #socket: Socket | undefined;
  #rest: Buffer = Buffer.alloc(0);

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** @param hello sent as soon as somebody connects */
  static async start(hello: Uint8Array = settingsFrame()): Promise<RawServer> {
    const server = createServer({ noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const raw = new RawServer(server, typeof address === 'object' && address !== null ? address.port : 0);
    server.on('connection', (socket) => raw.#accept(socket, hello));
    return raw;
  }

  send(...bytes: Uint8Array[]): void {
    this.#socket?.write(Buffer.concat(bytes));
  }

  /** Reads nothing more. */
  stall(): void {
    this.#socket?.pause();
  }

  /** The first frame that fits, waiting for it if need be. */
  frame(fits: (frame: RawFrame) => boolean): Promise<RawFrame> {
    return eventually(() => {
      const found = this.frames.find(fits);
      if (found === undefined) {
        const seen = this.frames.map(({ type, flags, streamId }) => `${type}/${flags}/${streamId}`);
        throw new Error(`no such frame among ${seen.join(' ')}`);
      }
      return found;
    });
  }

  /** A request has come to its end. */
  request(streamId: number): Promise<RawFrame> {
    return this.frame(({ type, flags, streamId: id }) => type === 0 && id === streamId && (flags & endStream) !== 0);
  }

  async goaway(): Promise<{ code: number; reason: string }> {
    const { payload } = await this.frame(({ type }) => type === 7);
    return { code: payload.readUInt32BE(4), reason: payload.toString('latin1', 8) };
  }

  async rst(streamId: number): Promise<number> {
    return (await this.frame(({ type, streamId: id }) => type === 3 && id === streamId)).payload.readUInt32BE(0);
  }

  /** Says no more, and takes no more than is there already. */
  hangUp(): void {
    this.#socket?.end();
  }

  /** Cuts the connection. */
  cut(): void {
    this.#socket?.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(socket: Socket, hello: Uint8Array): void {
    this.#socket = socket;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.isClosed = true;
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.write(hello);
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    if (this.frames.length === 0 && this.#rest.subarray(0, preface.length).equals(preface)) {
      this.#rest = this.#rest.subarray(preface.length);
    }
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      this.frames.push({
        type: this.#rest[3] ?? 0,
        flags: this.#rest[4] ?? 0,
        streamId: this.#rest.readUInt32BE(5),
        payload: this.#rest.subarray(9, 9 + length),
      });
      this.#rest = this.#rest.subarray(9 + length);
    }
  }
}
