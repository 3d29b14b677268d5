import type { Http2Stream, Unsent } from './http2-stream.js';
import type { Outbox } from './outbox.js';
import { defaultMaxFrameBytes, defaultWindowBytes, FrameFlag, FrameType, maxWindowBytes } from './protocol.js';

/** Answers are handed to the socket while less than this waits there: what waits here is shared out fairly. */
const busyBytes = 1_048_576;
/** Frames a stream may send before it is the next one's turn. */
const framesPerTurn = 4;
/** Pieces already sent that may wait to be let go together. */
const keptPieces = 64;

/**
 * The sending half of a connection: cuts answers into frames within the peer's windows (RFC 9113, section 5.2).
 * What does not fit waits per stream; streams whose own window is open take turns at the connection's.
 */
export class Sending {
  readonly #outbox: Outbox;
  readonly #onEnd: (stream: Http2Stream) => void;
  /** Streams with bytes to send and an open window of their own. */
  readonly #ready = new Set<Http2Stream>();
  #window = defaultWindowBytes;
  #unsentBytes = 0;
  maxFrameBytes = defaultMaxFrameBytes;
  initialWindow = defaultWindowBytes;

  /** `onEnd` is called when END_STREAM has been written. */
  constructor(outbox: Outbox, onEnd: (stream: Http2Stream) => void) {
    this.#outbox = outbox;
    this.#onEnd = onEnd;
  }

  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  headers(stream: Http2Stream, block: Uint8Array, isEnd: boolean): void {
    const { unsent } = stream;
    if (isEnd && unsent !== undefined) {
      unsent.tail = Buffer.from(block);
      return;
    }
    this.#block(stream.id, block, isEnd);
    if (isEnd) this.#onEnd(stream);
  }

  data(
    stream: Http2Stream,
    prefix: Uint8Array | undefined,
    pieces: readonly Uint8Array[],
    bytes: number,
    isEnd: boolean,
  ): void {
    const outbox = this.#outbox;
    const total = prefix === undefined ? bytes : bytes + prefix.length;
    const isFree =
      stream.unsent === undefined &&
      (total === 0 || (total <= stream.sendWindow && total <= this.#window && outbox.backlogBytes < busyBytes)) &&
      total <= this.maxFrameBytes;
    if (isFree) {
      stream.sendWindow -= total;
      this.#window -= total;
      outbox.frameHeader(total, FrameType.DATA, isEnd ? FrameFlag.END_STREAM : 0, stream.id);
      if (prefix !== undefined) outbox.copy(prefix);
      for (const piece of pieces) outbox.append(piece);
      if (outbox.isLarge) outbox.flush();
      if (isEnd) this.#onEnd(stream);
      return;
    }
    stream.unsent ??= { pieces: [], at: 0, offset: 0, bytes: 0, tail: 'open' };
    const { unsent } = stream;
    if (prefix !== undefined) unsent.pieces.push(Uint8Array.from(prefix));
    for (const piece of pieces) if (piece.length > 0) unsent.pieces.push(piece);
    unsent.bytes += total;
    if (isEnd) unsent.tail = 'end';
    this.#unsentBytes += total;
    if (stream.sendWindow > 0 || unsent.bytes === 0) this.#ready.add(stream);
    this.pump();
  }

  /** Sends what has become possible to send. */
  pump(): void {
    for (const stream of this.#ready) {
      if (this.#outbox.backlogBytes >= busyBytes) return;
      const { unsent } = stream;
      if (unsent !== undefined && unsent.bytes > 0 && this.#window <= 0) return;
      this.#ready.delete(stream);
      if (unsent === undefined) continue;
      this.#takeTurn(stream, unsent);
      // Behind the others; this very loop comes to it again.
      if (stream.unsent !== undefined && stream.sendWindow > 0) this.#ready.add(stream);
    }
  }

  /** A stream that is gone leaves nothing behind. */
  forget(stream: Http2Stream): void {
    if (stream.unsent === undefined) return;
    this.#unsentBytes -= stream.unsent.bytes;
    stream.unsent = undefined;
    this.#ready.delete(stream);
  }

  /** Returns false when the window would pass 2^31-1. */
  widenConnection(bytes: number): boolean {
    if (this.#window + bytes > maxWindowBytes) return false;
    this.#window += bytes;
    if (this.#ready.size > 0) this.pump();
    return true;
  }

  /** Returns false when the window would pass 2^31-1. `bytes` is negative when the peer lowers its initial window. */
  widenStream(stream: Http2Stream, bytes: number): boolean {
    if (stream.sendWindow + bytes > maxWindowBytes) return false;
    stream.sendWindow += bytes;
    if (stream.unsent !== undefined && stream.sendWindow > 0) this.#ready.add(stream);
    return true;
  }

  #takeTurn(stream: Http2Stream, unsent: Unsent): void {
    for (let frames = 0; frames < framesPerTurn; frames++) {
      const bytes = Math.min(unsent.bytes, stream.sendWindow, this.#window, this.maxFrameBytes);
      if (bytes <= 0 && unsent.bytes > 0) return;
      const isLast = bytes === unsent.bytes;
      const isEnd = isLast && unsent.tail === 'end';
      if (bytes > 0 || isEnd) {
        this.#outbox.frameHeader(bytes, FrameType.DATA, isEnd ? FrameFlag.END_STREAM : 0, stream.id);
        this.#pieces(unsent, bytes);
        stream.sendWindow -= bytes;
        this.#window -= bytes;
        this.#unsentBytes -= bytes;
      }
      if (this.#outbox.isLarge) this.#outbox.flush();
      if (!isLast) continue;
      stream.unsent = undefined;
      if (typeof unsent.tail === 'object') this.#block(stream.id, unsent.tail, true);
      if (unsent.tail === 'open') stream.consumer?.drained();
      else this.#onEnd(stream);
      return;
    }
  }

  #pieces(unsent: Unsent, bytes: number): void {
    unsent.bytes -= bytes;
    let left = bytes;
    while (left > 0) {
      const piece = unsent.pieces[unsent.at];
      if (piece === undefined) return;
      const take = Math.min(left, piece.length - unsent.offset);
      this.#outbox.append(piece.subarray(unsent.offset, unsent.offset + take));
      left -= take;
      unsent.offset += take;
      if (unsent.offset < piece.length) continue;
      unsent.at++;
      unsent.offset = 0;
    }
    // A stream that never falls silent must not keep all it ever sent.
    if (unsent.at >= keptPieces) unsent.pieces.splice(0, unsent.at);
    if (unsent.at >= keptPieces) unsent.at = 0;
  }

  #block(streamId: number, block: Uint8Array, isEnd: boolean): void {
    const endStream = isEnd ? FrameFlag.END_STREAM : 0;
    const { length } = block;
    const most = this.maxFrameBytes;
    if (length <= most) {
      this.#outbox.frameHeader(length, FrameType.HEADERS, FrameFlag.END_HEADERS | endStream, streamId);
      this.#outbox.copy(block);
      return;
    }
    for (let at = 0; at < length; at += most) {
      const part = block.subarray(at, at + most);
      const endHeaders = at + most >= length ? FrameFlag.END_HEADERS : 0;
      if (at === 0) this.#outbox.frameHeader(part.length, FrameType.HEADERS, endStream, streamId);
      else this.#outbox.frameHeader(part.length, FrameType.CONTINUATION, endHeaders, streamId);
      this.#outbox.copy(part);
    }
  }
}
