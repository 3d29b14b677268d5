import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { headerBlock } from '../../../platform/http2/hpack-encoder.js';
import { eventually } from '../../support/eventually.js';

// A client of HTTP/2 that does exactly what a test says, right or wrong. Its framing is its own.

export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export function rawFrame(type: number, flags: number, streamId: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, payload]);
}

export function settingsFrame(settings: readonly (readonly [number, number])[] = []): Buffer {
  const payload = Buffer.alloc(settings.length * 6);
  settings.forEach(([id, value], i) => {
    payload.writeUInt16BE(id, i * 6);
    payload.writeUInt32BE(value, i * 6 + 2);
  });
  return rawFrame(4, 0, 0, payload);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export const grpcHeaders = (path: string): [string, string][] => [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', path],
  [':authority', 'test'],
  ['te', 'trailers'],
  ['content-type', 'application/grpc'],
];

export const endStream = 1;
export const endHeaders = 4;

export const headersFrame = (streamId: number, fields: readonly (readonly [string, string])[], flags = 4): Buffer =>
  rawFrame(1, flags, streamId, headerBlock(fields));

/** A message with its five bytes in front. */
export function grpcMessage(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** A whole unary request. */
export const grpcRequest = (streamId: number, path: string, message: Uint8Array): Buffer =>
  Buffer.concat([headersFrame(streamId, grpcHeaders(path)), rawFrame(0, endStream, streamId, grpcMessage(message))]);

export class RawPeer {
  readonly socket: Socket;
  readonly frames: RawFrame[] = [];
  /** What came before or instead of frames. */
  text = '';
  isClosed = false;
  #rest: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  static async connect(port: number): Promise<RawPeer> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RawPeer(socket);
  }

  /** Connected, and past both sides' SETTINGS. */
  static async greeted(port: number, settings: readonly (readonly [number, number])[] = []): Promise<RawPeer> {
    const peer = await RawPeer.connect(port);
    peer.send(preface, settingsFrame(settings));
    await peer.frame((frame) => frame.type === 4 && frame.flags === 1);
    peer.send(rawFrame(4, 1, 0));
    return peer;
  }

  send(...bytes: Uint8Array[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(bytes));
  }

  /** The first frame that fits, waiting for it if need be. */
  frame(fits: (frame: RawFrame) => boolean, withinMs = 5000): Promise<RawFrame> {
    return eventually(() => {
      const found = this.frames.find(fits);
      if (found === undefined) throw new Error(`no such frame among ${this.#seen()}`);
      return found;
    }, withinMs);
  }

  async goaway(): Promise<{ code: number; reason: string }> {
    const { payload } = await this.frame(({ type }) => type === 7);
    return { code: payload.readUInt32BE(4), reason: payload.toString('latin1', 8) };
  }

  async closed(withinMs = 5000): Promise<void> {
    await eventually(() => {
      if (!this.isClosed) throw new Error(`still open, having seen ${this.#seen()}`);
    }, withinMs);
  }

  async rst(streamId: number): Promise<number> {
    const { payload } = await this.frame((frame) => frame.type === 3 && frame.streamId === streamId);
    return payload.readUInt32BE(0);
  }

  /** Sent and answered: everything before it has been dealt with. */
  async ping(payload: string): Promise<void> {
    this.send(rawFrame(6, 0, 0, Buffer.from(payload)));
    await this.frame((frame) => frame.type === 6 && frame.flags === 1 && frame.payload.toString() === payload);
  }

  /** All DATA of a stream, once the stream has ended. */
  async body(streamId: number): Promise<Buffer> {
    await this.frame((frame) => frame.streamId === streamId && frame.type <= 1 && (frame.flags & endStream) !== 0);
    return Buffer.concat(
      this.frames.filter(({ type, streamId: id }) => type === 0 && id === streamId).map(({ payload }) => payload),
    );
  }

  /** The text of a stream's last header block; our encoder writes plain literals. */
  async trailers(streamId: number): Promise<string> {
    const frame = await this.frame(
      ({ type, flags, streamId: id }) => type === 1 && id === streamId && (flags & endStream) !== 0,
    );
    return frame.payload.toString('latin1');
  }

  close(): void {
    this.socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length || length > 16_384) break;
      this.frames.push({
        type: this.#rest[3] ?? 0,
        flags: this.#rest[4] ?? 0,
        streamId: this.#rest.readUInt32BE(5),
        payload: this.#rest.subarray(9, 9 + length),
      });
      this.#rest = this.#rest.subarray(9 + length);
    }
    this.text = this.#rest.toString('latin1');
  }

  #seen(): string {
    return this.frames.map(({ type, flags, streamId }) => `${type}/${flags}/${streamId}`).join(' ');
  }
}
