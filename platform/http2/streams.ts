import type { Clock } from '../../core/clock.js';
import type { FrameWriter } from './frame-writer.js';
import { Http2Stream, type StreamConsumer } from './http2-stream.js';
import { type ConnectionLimits, RateLimit } from './limits.js';
import { broken, ConnectionError, defaultWindowBytes, ErrorCode, maxStreamId } from './protocol.js';
import type { RequestHead } from './request-head.js';
import type { Sending } from './sending.js';

/** A new request; whoever is returned gets the rest of it. */
export type OpenStream = (stream: Http2Stream, head: RequestHead) => StreamConsumer;

export interface StreamsParts {
  readonly limits: ConnectionLimits;
  readonly clock: Clock;
  readonly writer: FrameWriter;
  readonly sending: Sending;
  readonly peer: string;
  readonly open: OpenStream;
  /** The last open stream is gone. */
  readonly empty: () => void;
}

/** Streams that ended here while the caller may not have known: what still comes for them is no fault. */
const maxOverHere = 1024;

/** The streams of one connection: their states (RFC 9113, section 5.1) and their receiving windows. */
export class Streams {
  readonly peer: string;
  /** When the present or last read began. */
  nowMs: number;
  lastId = 0;
  /** Newer streams are refused. */
  refuseAbove = maxStreamId;
  /** Request bytes held for messages that are not whole yet. */
  unfinishedBytes = 0;
  readonly #parts: StreamsParts;
  readonly #limits: ConnectionLimits;
  readonly #writer: FrameWriter;
  readonly #sending: Sending;
  readonly #streams = new Map<number, Http2Stream>();
  readonly #overHere = new Set<number>();
  readonly #quickResets: RateLimit;
  readonly #idleFrames: RateLimit;
  #receiveWindow: number;
  #uncredited: number;

  constructor(parts: StreamsParts) {
    const { limits, clock } = parts;
    this.#parts = parts;
    this.peer = parts.peer;
    this.#limits = limits;
    this.#writer = parts.writer;
    this.#sending = parts.sending;
    this.#quickResets = new RateLimit(limits.maxQuickResetsPerSecond, clock);
    this.#idleFrames = new RateLimit(limits.maxIdleFramesPerSecond, clock);
    this.nowMs = clock.nowMs();
    // The window is wider than the protocol's default by what the first WINDOW_UPDATE says.
    this.#receiveWindow = defaultWindowBytes;
    this.#uncredited = limits.connectionWindowBytes - defaultWindowBytes;
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Opens a stream, or ends one with its trailers. */
  head(streamId: number, isEnd: boolean, head: RequestHead): void {
    const known = this.#streams.get(streamId);
    if (known !== undefined) {
      this.#trailers(known, isEnd, head);
      return;
    }
    if ((streamId & 1) === 0) throw broken(`Stream ${streamId} is not a client's: its number is even.`);
    if (streamId <= this.lastId) {
      if (!this.#overHere.has(streamId)) {
        throw new ConnectionError(ErrorCode.STREAM_CLOSED, `HEADERS for stream ${streamId}, which is over.`);
      }
      if (isEnd) this.#overHere.delete(streamId);
      return;
    }
    this.lastId = streamId;
    if (this.#isFull(streamId)) {
      this.#writer.rstStream(streamId, ErrorCode.REFUSED_STREAM);
      if (!isEnd) this.#remember(streamId);
      this.idleFrame();
      return;
    }
    const stream = new Http2Stream(this, this.#sending, streamId, this.#limits.streamWindowBytes);
    this.#streams.set(streamId, stream);
    if (head.isMalformed || head.isTrailers || (isEnd && head.contentLength > 0)) {
      this.#abort(stream, ErrorCode.PROTOCOL_ERROR);
      return;
    }
    stream.contentLeft = head.contentLength;
    stream.isRemoteEnded = isEnd;
    stream.consumer = this.#parts.open(stream, head);
    if (isEnd) this.#remoteEnded(stream);
  }

  data(
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
    flowBytes: number,
    isFrameEnd: boolean,
    isEnd: boolean,
  ): void {
    if (start === end && isFrameEnd && !isEnd) this.idleFrame();
    this.#receiveWindow -= flowBytes;
    if (this.#receiveWindow < 0) {
      throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "More DATA came than the connection's window allows.");
    }
    // Given back at once: what one stream holds must not keep the others waiting.
    this.creditConnection(flowBytes);
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#strayData(streamId, isFrameEnd, isEnd);
      return;
    }
    const fault = stream.received(end - start, flowBytes, isEnd);
    if (fault !== ErrorCode.NO_ERROR) {
      this.#abort(stream, fault);
      return;
    }
    const { consumer } = stream;
    const credit = start === end || consumer === undefined ? 0 : consumer.data(bytes, start, end);
    if (isEnd) this.#remoteEnded(stream);
    else this.credit(stream, flowBytes - (end - start) + credit);
  }

  resetByPeer(streamId: number, code: number): void {
    if (streamId === 0 || streamId > this.lastId) throw broken(`RST_STREAM for stream ${streamId}, never opened.`);
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#overHere.delete(streamId);
      this.idleFrame();
      return;
    }
    this.#forget(stream);
    stream.consumer?.closed(code);
    this.#countReset(stream);
  }

  windowUpdate(streamId: number, bytes: number): void {
    if (streamId === 0) {
      if (bytes === 0) throw broken('WINDOW_UPDATE adds nothing.');
      if (!this.#sending.widenConnection(bytes)) throw windowOverflow();
      return;
    }
    if (streamId > this.lastId) throw broken(`WINDOW_UPDATE for stream ${streamId}, never opened.`);
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (bytes === 0) this.#abort(stream, ErrorCode.PROTOCOL_ERROR);
    else if (!this.#sending.widenStream(stream, bytes)) this.#abort(stream, ErrorCode.FLOW_CONTROL_ERROR);
    else if (stream.unsent !== undefined) this.#sending.pump();
  }

  /** The peer's INITIAL_WINDOW_SIZE also moves the windows of the streams that are open (section 6.9.2). */
  initialWindow(bytes: number): void {
    const delta = bytes - this.#sending.initialWindow;
    this.#sending.initialWindow = bytes;
    for (const stream of this.#streams.values()) {
      if (!this.#sending.widenStream(stream, delta)) throw windowOverflow();
    }
    this.#sending.pump();
  }

  /** END_STREAM has been written. */
  localEnded(stream: Http2Stream): void {
    stream.isLocalEnded = true;
    if (stream.isRemoteEnded) this.#forget(stream);
  }

  reset(stream: Http2Stream, code: number): void {
    if (stream.isClosed) return;
    this.#writer.rstStream(stream.id, code);
    if (!stream.isRemoteEnded) this.#remember(stream.id);
    this.#forget(stream);
  }

  credit(stream: Http2Stream, bytes: number): void {
    stream.uncredited += bytes;
    if (stream.uncredited * 2 < this.#limits.streamWindowBytes || stream.isClosed || stream.isRemoteEnded) return;
    this.#writer.windowUpdate(stream.id, stream.uncredited);
    stream.receiveWindow += stream.uncredited;
    stream.uncredited = 0;
  }

  creditConnection(bytes: number): void {
    this.#uncredited += bytes;
    if (this.#uncredited * 2 < this.#limits.connectionWindowBytes) return;
    this.#writer.windowUpdate(0, this.#uncredited);
    this.#receiveWindow += this.#uncredited;
    this.#uncredited = 0;
  }

  giveUpAll(): void {
    for (const stream of [...this.#streams.values()]) stream.consumer?.giveUp();
  }

  /** Ends every stream; the peer may be told, or be gone. */
  closeAll(code: number, isPeerTold: boolean): void {
    for (const stream of [...this.#streams.values()]) {
      if (isPeerTold) this.reset(stream, code);
      else this.#forget(stream);
      stream.consumer?.closed(code);
    }
  }

  /** A frame that moves nothing. */
  idleFrame(): void {
    if (!this.#idleFrames.allows()) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'Too many idle frames.');
  }

  #isFull(streamId: number): boolean {
    const { maxConcurrentStreams, maxUnsentBytes } = this.#limits;
    return (
      this.#streams.size >= maxConcurrentStreams ||
      this.#sending.unsentBytes > maxUnsentBytes ||
      streamId > this.refuseAbove
    );
  }

  #trailers(stream: Http2Stream, isEnd: boolean, head: RequestHead): void {
    if (stream.isRemoteEnded) {
      this.#abort(stream, ErrorCode.STREAM_CLOSED);
    } else if (!isEnd || head.isMalformed || !head.isTrailers || stream.contentLeft > 0) {
      this.#abort(stream, ErrorCode.PROTOCOL_ERROR);
    } else {
      stream.isRemoteEnded = true;
      this.#remoteEnded(stream, head);
    }
  }

  #remoteEnded(stream: Http2Stream, trailers?: RequestHead): void {
    if (stream.isLocalEnded) this.#forget(stream);
    else if (!stream.isClosed) stream.consumer?.ended(trailers?.fields);
  }

  #strayData(streamId: number, isFrameEnd: boolean, isEnd: boolean): void {
    if (streamId === 0 || streamId > this.lastId) throw broken(`DATA for stream ${streamId}, which is not open.`);
    if (!isFrameEnd) return;
    this.idleFrame();
    if (!this.#overHere.has(streamId)) this.#writer.rstStream(streamId, ErrorCode.STREAM_CLOSED);
    else if (isEnd) this.#overHere.delete(streamId);
  }

  /** A stream error of the peer's making. */
  #abort(stream: Http2Stream, code: number): void {
    this.reset(stream, code);
    stream.consumer?.closed(code);
    this.#countReset(stream);
  }

  /** Streams opened and thrown away cost us and not the peer, whichever side it makes reset them. */
  #countReset(stream: Http2Stream): void {
    if (this.nowMs - stream.openedMs > this.#limits.youngStreamMs || this.#quickResets.allows()) return;
    throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'Too many streams were opened only to be reset.');
  }

  #remember(streamId: number): void {
    this.#overHere.add(streamId);
    if (this.#overHere.size <= maxOverHere) return;
    for (const oldest of this.#overHere) {
      this.#overHere.delete(oldest);
      break;
    }
  }

  #forget(stream: Http2Stream): void {
    if (stream.isClosed) return;
    stream.isClosed = true;
    this.#sending.forget(stream);
    this.#streams.delete(stream.id);
    if (this.#streams.size === 0) this.#parts.empty();
  }
}

const windowOverflow = (): ConnectionError =>
  new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'A window would grow beyond 2^31-1 bytes.');
