import type { HeaderField } from './header-field.js';
import { ErrorCode } from './protocol.js';
import type { Sending } from './sending.js';
import type { Streams } from './streams.js';

/** What becomes of a request's bytes. One per stream, made when its headers have come. */
export interface StreamConsumer {
  /**
   * Request bytes `[start, end)` of a read. Returns how many the caller may send anew at once; the rest is
   * credited later (`Http2Stream.credit`).
   */
  data(bytes: Buffer, start: number, end: number): number;
  /** The caller has sent all; `trailers` are the fields that ended it, if any. */
  ended(trailers: readonly HeaderField[] | undefined): void;
  /** The stream is gone before it was over on both sides: reset by the caller, or with the connection. */
  closed(code: number): void;
  /** What was handed to the stream has all been written; called only after something had to wait. */
  drained(): void;
  /** The server is closing: this is the last moment for an answer. */
  giveUp(): void;
}

/** Bytes on their way out that wait for the peer's windows or for the socket. */
export interface Unsent {
  readonly pieces: Uint8Array[];
  /** The first piece not sent to its end, and how far it was. */
  at: number;
  offset: number;
  bytes: number;
  /** What follows the last piece: nothing yet, the end of the stream, or trailers that end it. */
  tail: 'open' | 'end' | Buffer;
}

/** One stream, as the connection and the consumer see it. */
export class Http2Stream {
  readonly streams: Streams;
  readonly #sending: Sending;
  readonly id: number;
  /** When its headers came. */
  readonly openedMs: number;
  consumer: StreamConsumer | undefined;
  /** Bytes the peer lets us send; negative when it made its window smaller. */
  sendWindow: number;
  /** Bytes we let the peer send. */
  receiveWindow: number;
  /** Consumed since the last WINDOW_UPDATE. */
  uncredited = 0;
  /** What content-length still promises; -1: it was not given. */
  contentLeft = -1;
  isRemoteEnded = false;
  /** END_STREAM has been written. */
  isLocalEnded = false;
  isClosed = false;
  unsent: Unsent | undefined;

  constructor(streams: Streams, sending: Sending, id: number, receiveWindow: number) {
    this.streams = streams;
    this.#sending = sending;
    this.id = id;
    this.openedMs = streams.nowMs;
    this.sendWindow = sending.initialWindow;
    this.receiveWindow = receiveWindow;
  }

  /** Response headers, or trailers when `isEnd`: a block of `HeaderBlock`, copied. */
  headers(block: Uint8Array, isEnd: boolean): void {
    if (!this.isClosed) this.#sending.headers(this, block, isEnd);
  }

  /** Body bytes: `prefix` is copied, `pieces` of `bytes` bytes in all must not change until sent. */
  data(prefix: Uint8Array | undefined, pieces: readonly Uint8Array[], bytes: number, isEnd: boolean): void {
    if (!this.isClosed) this.#sending.data(this, prefix, pieces, bytes, isEnd);
  }

  /** Gives the stream up; the consumer is not called any more. */
  reset(code: number): void {
    this.streams.reset(this, code);
  }

  /** Lets the caller send `bytes` more. */
  credit(bytes: number): void {
    this.streams.credit(this, bytes);
  }

  /**
   * Accounts for DATA of `contentBytes` that count `flowBytes` for flow control. Returns what is wrong with it, as
   * the code of a stream error.
   */
  received(contentBytes: number, flowBytes: number, isEnd: boolean): number {
    if (this.isRemoteEnded) return ErrorCode.STREAM_CLOSED;
    this.receiveWindow -= flowBytes;
    if (this.receiveWindow < 0) return ErrorCode.FLOW_CONTROL_ERROR;
    if (this.contentLeft >= 0) {
      if (contentBytes > this.contentLeft) return ErrorCode.PROTOCOL_ERROR;
      this.contentLeft -= contentBytes;
      if (isEnd && this.contentLeft > 0) return ErrorCode.PROTOCOL_ERROR;
    }
    this.isRemoteEnded = isEnd;
    return ErrorCode.NO_ERROR;
  }
}
