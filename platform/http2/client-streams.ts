import { GrpcStatus } from '../../core/errors.js';
import type { ClientCall } from './client-call.js';
import type { FrameWriter } from './frame-writer.js';
import { Http2Stream, type StreamOwner } from './http2-stream.js';
import type { ConnectionLimits } from './limits.js';
import { broken, ConnectionError, codeName, defaultWindowBytes, ErrorCode, maxStreamId } from './protocol.js';
import type { ResponseHead } from './response-head.js';
import type { Sending } from './sending.js';
import { faulty, statusOfReset, type UnaryOutcome } from './unary-outcome.js';

export interface ClientStreamsParts {
  readonly limits: ConnectionLimits;
  readonly writer: FrameWriter;
  readonly sending: Sending;
  readonly peer: string;
  readonly nowMs: number;
  /** A stream is gone, and another may take its place. */
  readonly room: () => void;
}

/** The streams that this side of a connection opened: their states (RFC 9113, section 5.1) and receiving windows. */
export class ClientStreams implements StreamOwner {
  readonly peer: string;
  /** When the present or last read began. */
  nowMs: number;
  unfinishedBytes = 0;
  /** The peer's MAX_CONCURRENT_STREAMS; unlimited until it says so. */
  most = Number.POSITIVE_INFINITY;
  readonly #parts: ClientStreamsParts;
  readonly #calls = new Map<number, ClientCall>();
  #nextId = 1;
  #receiveWindow = defaultWindowBytes;
  #uncredited: number;

  constructor(parts: ClientStreamsParts) {
    this.#parts = parts;
    this.peer = parts.peer;
    this.nowMs = parts.nowMs;
    // The window is wider than the protocol's default by what the first WINDOW_UPDATE says.
    this.#uncredited = parts.limits.connectionWindowBytes - defaultWindowBytes;
  }

  get size(): number {
    return this.#calls.size;
  }

  get isUsedUp(): boolean {
    return this.#nextId > maxStreamId;
  }

  /** A new stream for `call`, whose number is the next. */
  add(call: ClientCall): Http2Stream {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#calls.set(id, call);
    return new Http2Stream(this, this.#parts.sending, id, this.#parts.limits.streamWindowBytes);
  }

  /** The server is told where anything of the stream is left on either side. */
  reset(stream: Http2Stream, code: number): void {
    if (stream.isClosed) return;
    if (!(stream.isRemoteEnded && stream.isLocalEnded)) this.#parts.writer.rstStream(stream.id, code);
    stream.isClosed = true;
    this.#parts.sending.forget(stream);
    this.#calls.delete(stream.id);
    this.#parts.room();
  }

  credit(stream: Http2Stream, bytes: number): void {
    stream.uncredited += bytes;
    if (stream.uncredited * 2 < this.#parts.limits.streamWindowBytes || stream.isClosed) return;
    this.#parts.writer.windowUpdate(stream.id, stream.uncredited);
    stream.receiveWindow += stream.uncredited;
    stream.uncredited = 0;
  }

  creditConnection(bytes: number): void {
    this.#uncredited += bytes;
    if (this.#uncredited * 2 < this.#parts.limits.connectionWindowBytes) return;
    this.#parts.writer.windowUpdate(0, this.#uncredited);
    this.#receiveWindow += this.#uncredited;
    this.#uncredited = 0;
  }

  headers(streamId: number, isEnd: boolean, head: ResponseHead): void {
    // Of a call that is over: the server may not know yet.
    const call = this.#calls.get(streamId);
    if (call?.stream === undefined) return;
    if (isEnd) call.stream.isRemoteEnded = true;
    call.headers(head, isEnd);
  }

  data(streamId: number, bytes: Buffer, start: number, end: number, flowBytes: number, isEnd: boolean): void {
    this.mustBeOpened(streamId, 'DATA');
    this.#receiveWindow -= flowBytes;
    if (this.#receiveWindow < 0) {
      throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "More DATA came than the connection's window allows.");
    }
    this.creditConnection(flowBytes);
    const call = this.#calls.get(streamId);
    const stream = call?.stream;
    if (call === undefined || stream === undefined) return;
    const wrong = stream.received(end - start, flowBytes, isEnd);
    if (wrong !== ErrorCode.NO_ERROR) {
      this.#abort(call, stream, wrong, `The server broke HTTP/2 on the call's stream (${codeName(wrong)}).`);
      return;
    }
    call.data(bytes, start, end);
    if (call.isOver) return;
    if (isEnd) call.dataEnded();
    else this.credit(stream, flowBytes);
  }

  resetByPeer(streamId: number, code: number): void {
    this.mustBeOpened(streamId, 'RST_STREAM');
    const fault = code === ErrorCode.REFUSED_STREAM ? 'refused' : 'reset';
    const message = `The server reset the call's stream (${codeName(code)}).`;
    this.#drop(this.#calls.get(streamId), faulty(fault, statusOfReset(code), message));
  }

  windowUpdate(streamId: number, bytes: number): void {
    const { sending } = this.#parts;
    if (streamId === 0) {
      if (bytes === 0) throw broken('WINDOW_UPDATE adds nothing.');
      if (!sending.widenConnection(bytes)) throw windowOverflow();
      return;
    }
    this.mustBeOpened(streamId, 'WINDOW_UPDATE');
    const call = this.#calls.get(streamId);
    const stream = call?.stream;
    if (call === undefined || stream === undefined) return;
    if (bytes === 0) {
      this.#abort(call, stream, ErrorCode.PROTOCOL_ERROR, 'The server sent a WINDOW_UPDATE that adds nothing.');
    } else if (!sending.widenStream(stream, bytes)) {
      const message = "The server let the call's window grow beyond 2^31-1 bytes.";
      this.#abort(call, stream, ErrorCode.FLOW_CONTROL_ERROR, message);
    } else if (stream.unsent !== undefined) {
      sending.pump();
    }
  }

  /** The peer's INITIAL_WINDOW_SIZE also moves the windows of the streams that are open (section 6.9.2). */
  initialWindow(bytes: number): void {
    const { sending } = this.#parts;
    const delta = bytes - sending.initialWindow;
    sending.initialWindow = bytes;
    for (const { stream } of this.#calls.values()) {
      if (stream !== undefined && !sending.widenStream(stream, delta)) throw windowOverflow();
    }
    sending.pump();
  }

  /** Ends the calls on streams above `lastId`, without a word to the server. */
  dropAbove(lastId: number, why: UnaryOutcome): void {
    for (const [id, call] of [...this.#calls]) if (id > lastId) this.#drop(call, why);
  }

  /** @throws ConnectionError for a stream that the server cannot know of */
  mustBeOpened(streamId: number, frame: string): void {
    if (streamId < this.#nextId && (streamId & 1) === 1) return;
    throw broken(`${frame} for stream ${streamId}, which this client never opened.`);
  }

  #abort(call: ClientCall, stream: Http2Stream, code: number, message: string): void {
    this.#parts.writer.rstStream(stream.id, code);
    this.#drop(call, faulty('protocol', GrpcStatus.INTERNAL, message));
  }

  /** Ends a call whose stream is over on both sides, or was never looked at. */
  #drop(call: ClientCall | undefined, why: UnaryOutcome): void {
    if (call?.stream === undefined) return;
    call.stream.isRemoteEnded = true;
    call.stream.isLocalEnded = true;
    call.finish(why);
  }
}

const windowOverflow = (): ConnectionError =>
  new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'A window would grow beyond 2^31-1 bytes.');
