import type { Socket } from 'node:net';
import { frameHeaderBytes } from './protocol.js';

const chunkBytes = 65_536;
/** Pieces up to this size are cheaper to copy than to hand to the socket one by one. */
const copyBytes = 8192;
/** Output of one turn above which it is written before the turn ends. */
const eagerBytes = 262_144;

/** Output chunks wait here between writes: one pool for all connections, at most 4 MiB. */
const pool: Buffer[] = [];
const maxPooled = 64;

/**
 * Collects what a connection sends during one turn of the event loop and writes it once. Small pieces are laid one
 * after the other in pooled chunks; large ones go to the socket as they are and must not change until then.
 */
export class Outbox {
  readonly #socket: Socket;
  readonly #onWritten: () => void;
  readonly #flush = (): void => this.flush();
  #chunk: Buffer | undefined;
  /** Of the chunk, `[#start, #end)` is not among the pieces yet. */
  #start = 0;
  #end = 0;
  #pieces: Uint8Array[] = [];
  #chunks: Buffer[] = [];
  #bytes = 0;
  #isScheduled = false;

  /** `onWritten` is called whenever the socket has taken a write to its end. */
  constructor(socket: Socket, onWritten: () => void) {
    this.#socket = socket;
    this.#onWritten = onWritten;
  }

  /** Bytes that the operating system has not taken yet. */
  get backlogBytes(): number {
    return this.#bytes + this.#socket.writableLength;
  }

  /** Writes a frame's header; its payload of `length` bytes must follow. */
  frameHeader(length: number, type: number, flags: number, streamId: number): void {
    const chunk = this.#room(frameHeaderBytes);
    const at = this.#end;
    chunk[at] = length >>> 16;
    chunk[at + 1] = length >>> 8;
    chunk[at + 2] = length;
    chunk[at + 3] = type;
    chunk[at + 4] = flags;
    chunk[at + 5] = streamId >>> 24;
    chunk[at + 6] = streamId >>> 16;
    chunk[at + 7] = streamId >>> 8;
    chunk[at + 8] = streamId;
    this.#advance(frameHeaderBytes);
  }

  uint32(value: number): void {
    const chunk = this.#room(4);
    const at = this.#end;
    chunk[at] = value >>> 24;
    chunk[at + 1] = value >>> 16;
    chunk[at + 2] = value >>> 8;
    chunk[at + 3] = value;
    this.#advance(4);
  }

  /** Copies `piece`, which may change afterwards. */
  copy(piece: Uint8Array): void {
    const { length } = piece;
    if (length > chunkBytes) {
      this.#refer(Buffer.from(piece));
      return;
    }
    const chunk = this.#room(length);
    if (length <= 24) {
      const at = this.#end;
      for (let i = 0; i < length; i++) chunk[at + i] = piece[i] ?? 0;
    } else {
      chunk.set(piece, this.#end);
    }
    this.#advance(length);
  }

  /** Takes `piece`, which must stay as it is until written. */
  append(piece: Uint8Array): void {
    if (piece.length <= copyBytes) this.copy(piece);
    else this.#refer(piece);
  }

  /** Writes all there is. Otherwise this happens by itself at the end of the turn. */
  flush(): void {
    this.#isScheduled = false;
    if (this.#bytes === 0) return;
    this.#seal();
    const pieces = this.#pieces;
    const chunks = this.#chunks;
    if (this.#chunk !== undefined) chunks.push(this.#chunk);
    this.#pieces = [];
    this.#chunks = [];
    this.#chunk = undefined;
    this.#bytes = 0;
    const written = (): void => {
      for (const chunk of chunks) if (pool.length < maxPooled) pool.push(chunk);
      this.#onWritten();
    };
    const socket = this.#socket;
    const last = pieces.pop();
    if (last === undefined || !socket.writable) return;
    if (pieces.length === 0) {
      socket.write(last, written);
      return;
    }
    socket.cork();
    for (const piece of pieces) socket.write(piece);
    socket.write(last, written);
    socket.uncork();
  }

  /** Drops what has not been written. */
  discard(): void {
    this.#pieces = [];
    this.#start = this.#end;
    this.#bytes = 0;
  }

  #refer(piece: Uint8Array): void {
    this.#seal();
    this.#pieces.push(piece);
    this.#count(piece.length);
  }

  /** The chunk, with at least `bytes` free at `#end`. */
  #room(bytes: number): Buffer {
    const chunk = this.#chunk;
    if (chunk !== undefined && this.#end + bytes <= chunkBytes) return chunk;
    this.#seal();
    if (chunk !== undefined) this.#chunks.push(chunk);
    const fresh = pool.pop() ?? Buffer.allocUnsafeSlow(chunkBytes);
    this.#chunk = fresh;
    this.#start = 0;
    this.#end = 0;
    return fresh;
  }

  #seal(): void {
    if (this.#chunk === undefined || this.#start === this.#end) return;
    this.#pieces.push(this.#chunk.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #advance(bytes: number): void {
    this.#end += bytes;
    this.#count(bytes);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#flush);
  }

  /** True when so much has been collected that waiting for the turn's end only costs memory. */
  get isLarge(): boolean {
    return this.#bytes >= eagerBytes;
  }
}
