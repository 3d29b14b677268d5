import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.js';
import { GrpcStatus } from '../../core/errors.js';
import { systemTimers } from '../timers.js';
import type { ClientCall } from './client-call.js';
import { ClientStreams } from './client-streams.js';
import { FrameReader, type FrameVisitor } from './frame-reader.js';
import { FrameWriter } from './frame-writer.js';
import { HeaderBlocks } from './header-blocks.js';
import type { Http2Stream } from './http2-stream.js';
import { type ConnectionLimits, RateLimit } from './limits.js';
import { Liveness } from './liveness.js';
import { Outbox } from './outbox.js';
import { readSettings } from './peer-settings.js';
import {
  broken,
  ConnectionError,
  clientPreface,
  codeName,
  ErrorCode,
  FrameFlag,
  FrameType,
  maxStreamId,
  Setting,
  wrongSize,
} from './protocol.js';
import { RequestBlocks } from './request-blocks.js';
import { type ResponseHead, responseHead } from './response-head.js';
import { Sending } from './sending.js';
import { faulty, type UnaryOutcome } from './unary-outcome.js';

/** Who opened the connection. */
export interface ClientConnectionHost {
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  /** The server has said hello. */
  readonly greeted: () => void;
  /** A call may be opened that could not be before. */
  readonly room: () => void;
  /** Calls are not taken any more; those under way may still be answered. `why` is what later ones are told. */
  readonly closing: (why: UnaryOutcome) => void;
}

/** `serving` from the server's SETTINGS on; a `draining` connection only finishes its calls. */
type State = 'greeting' | 'serving' | 'draining' | 'closed';

/** How long the last words may take to leave. */
const lingerMs = 1000;
const alivePing = Buffer.from('shoalask');
/** A larger frame keeps the others waiting for too long. */
const maxFrameSent = 65_536;
/** Of what a server says with its GOAWAY. */
const maxWordsBytes = 200;

/**
 * The client's side of one HTTP/2 connection (RFC 9113) with prior knowledge, straight on a socket. What it has to say
 * in one turn of the event loop goes out in one write. Errors of the server end the call or the connection and never
 * throw.
 */
export class ClientConnection implements FrameVisitor {
  readonly #host: ClientConnectionHost;
  readonly #socket: Socket;
  readonly #outbox: Outbox;
  readonly #writer: FrameWriter;
  readonly #sending: Sending;
  readonly #streams: ClientStreams;
  readonly #requests = new RequestBlocks();
  readonly #blocks: HeaderBlocks<ResponseHead>;
  readonly #reader = new FrameReader(this);
  readonly #liveness: Liveness;
  readonly #pings: RateLimit;
  readonly #settingsFrames: RateLimit;
  readonly #idleFrames: RateLimit;
  #state: State = 'greeting';

  /** @param socket connected */
  constructor(socket: Socket, host: ClientConnectionHost) {
    const { limits, clock } = host;
    this.#host = host;
    this.#socket = socket;
    this.#outbox = new Outbox(socket, () => this.#sending.pump());
    this.#writer = new FrameWriter(this.#outbox);
    this.#sending = new Sending(this.#outbox, (stream) => {
      stream.isLocalEnded = true;
    });
    this.#streams = new ClientStreams({
      limits,
      writer: this.#writer,
      sending: this.#sending,
      peer: `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`,
      nowMs: clock.nowMs(),
      room: () => this.#room(),
    });
    this.#blocks = new HeaderBlocks(
      limits,
      responseHead,
      (streamId, isEnd, head) => this.#streams.headers(streamId, isEnd, head),
      // Trailers tell of one call.
      (head) => head.httpStatus !== 0,
    );
    this.#liveness = new Liveness(limits);
    this.#pings = new RateLimit(limits.maxPingsPerSecond, clock);
    this.#settingsFrames = new RateLimit(limits.maxSettingsPerSecond, clock);
    this.#idleFrames = new RateLimit(limits.maxIdleFramesPerSecond, clock);
    this.#outbox.copy(clientPreface);
    this.#writer.settings([
      [Setting.ENABLE_PUSH, 0],
      [Setting.INITIAL_WINDOW_SIZE, limits.streamWindowBytes],
      [Setting.MAX_HEADER_LIST_SIZE, limits.maxHeaderListBytes],
    ]);
    this.#streams.creditConnection(0);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    // What an error says adds nothing: the calls end with the connection.
    for (const event of ['end', 'error', 'close']) socket.on(event, () => this.#lost());
  }

  /** Calls under way. */
  get callCount(): number {
    return this.#streams.size;
  }

  /** Request bytes that wait for the server's windows or for the socket. */
  get unsentBytes(): number {
    return this.#sending.unsentBytes + this.#outbox.backlogBytes;
  }

  get hasRoom(): boolean {
    return this.#state === 'serving' && this.#streams.size < this.#streams.most;
  }

  /** Sends a call's request on a stream of its own; only while there is room. `timeoutMs` may be Infinity. */
  open(call: ClientCall, timeoutMs: number): void {
    call.send(this.#streams.add(call), this.#requests.block(call.head, timeoutMs));
    if (!this.#streams.isUsedUp) return;
    this.#drain(faulty('goaway', GrpcStatus.UNAVAILABLE, 'The connection has used up its stream numbers.'));
  }

  /** The call on `stream` is over: nothing of it is sent or expected any more. */
  over(stream: Http2Stream): void {
    this.#streams.reset(stream, ErrorCode.CANCEL);
  }

  /** Says goodbye; calls that are left end with `why`. */
  close(why: UnaryOutcome): void {
    if (this.#state === 'closed') return;
    this.#writer.goaway(0, ErrorCode.NO_ERROR, '');
    this.#end(why);
  }

  /** What only time can tell; called about once a second while there are calls. */
  sweep(nowMs: number): void {
    if (this.#state === 'greeting' || this.#state === 'closed') return;
    const verdict = this.#liveness.check(nowMs, this.#streams.nowMs, this.#streams.size > 0);
    if (verdict === 'ask') {
      this.#writer.ping(alivePing, 0);
    } else if (verdict === 'gone') {
      const message = `The server at ${this.#streams.peer} has been silent and did not answer a PING.`;
      this.#end(faulty('silent', GrpcStatus.UNAVAILABLE, message));
    } else if (this.#blocks.ageMs(nowMs) > this.#host.limits.handshakeMs) {
      this.#fail(new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'A header block did not end in time.'));
    }
  }

  frameBegins(type: number, flags: number, streamId: number, length: number): void {
    if (this.#state === 'greeting' && (type !== FrameType.SETTINGS || (flags & FrameFlag.ACK) !== 0)) {
      throw broken('The first frame must be SETTINGS.');
    }
    this.#blocks.frameBegins(type, streamId, length);
  }

  frame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (this.#state === 'closed') return;
    const length = end - start;
    switch (type) {
      case FrameType.HEADERS:
        this.#streams.mustBeOpened(streamId, 'HEADERS');
        this.#blocks.headers(flags, streamId, bytes, start, end, this.#streams.nowMs);
        break;
      case FrameType.CONTINUATION:
        this.#blocks.continuation(flags, bytes, start, end);
        break;
      case FrameType.WINDOW_UPDATE:
        if (length !== 4) throw wrongSize('WINDOW_UPDATE', length);
        this.#streams.windowUpdate(streamId, bytes.readUInt32BE(start) & maxStreamId);
        break;
      case FrameType.RST_STREAM:
        if (length !== 4) throw wrongSize('RST_STREAM', length);
        this.#streams.resetByPeer(streamId, bytes.readUInt32BE(start));
        break;
      case FrameType.PING:
        if (streamId !== 0) throw broken('PING names a stream.');
        if (length !== 8) throw wrongSize('PING', length);
        if ((flags & FrameFlag.ACK) !== 0) break;
        if (!this.#pings.allows()) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'Too many PINGs.');
        this.#writer.ping(bytes.subarray(start, end), FrameFlag.ACK);
        break;
      case FrameType.SETTINGS:
        if (streamId !== 0) throw broken('SETTINGS names a stream.');
        this.#settings(flags, bytes, start, end);
        break;
      case FrameType.GOAWAY:
        if (streamId !== 0) throw broken('GOAWAY names a stream.');
        if (length < 8) throw wrongSize('GOAWAY', length);
        this.#goaway(bytes.subarray(start, end));
        break;
      case FrameType.PUSH_PROMISE:
        throw broken('The server pushes, which it was told not to.');
      case FrameType.PRIORITY:
        if (length !== 5) throw wrongSize('PRIORITY', length);
        this.#idle();
        break;
      default:
        this.#idle();
    }
  }

  data(
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
    flowBytes: number,
    isFrameEnd: boolean,
    isStreamEnd: boolean,
  ): void {
    if (this.#state === 'closed') return;
    if (start === end && isFrameEnd && !isStreamEnd) this.#idle();
    this.#streams.data(streamId, bytes, start, end, flowBytes, isStreamEnd);
  }

  #read(chunk: Buffer): void {
    if (this.#state === 'closed') return;
    this.#streams.nowMs = this.#host.clock.nowMs();
    try {
      if (this.#state === 'greeting' && chunk.toString('latin1', 0, 5) === 'HTTP/') throw broken('It speaks HTTP/1.');
      this.#reader.read(chunk, 0);
    } catch (thrown) {
      if (thrown instanceof ConnectionError) this.#fail(thrown);
      else this.#fail(new ConnectionError(ErrorCode.INTERNAL_ERROR, `Unexpected failure: ${thrown}.`));
    }
  }

  #settings(flags: number, bytes: Buffer, start: number, end: number): void {
    if ((flags & FrameFlag.ACK) !== 0) {
      if (start !== end) throw wrongSize('SETTINGS acknowledgement', end - start);
      return;
    }
    if (!this.#settingsFrames.allows()) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'Too many SETTINGS.');
    readSettings(bytes, start, end, {
      initialWindow: (windowBytes) => this.#streams.initialWindow(windowBytes),
      maxFrame: (frameBytes) => {
        this.#sending.maxFrameBytes = Math.min(frameBytes, maxFrameSent);
      },
      maxStreams: (count) => {
        this.#streams.most = count;
      },
      headerTable: (tableBytes) => this.#requests.peerAllows(tableBytes),
    });
    this.#writer.acknowledgeSettings();
    if (this.#state === 'greeting') {
      this.#state = 'serving';
      this.#host.greeted();
    }
    this.#host.room();
  }

  /** Calls that the server will not look at end; the others go on, and the connection with them (section 6.8). */
  #goaway(payload: Buffer): void {
    const lastId = payload.readUInt32BE(0) & maxStreamId;
    const said = payload.toString('utf8', 8, 8 + maxWordsBytes);
    const words = `${codeName(payload.readUInt32BE(4))}${said === '' ? '' : `: ${said}`}`;
    const why = faulty('goaway', GrpcStatus.UNAVAILABLE, `The server ends the connection (${words}).`);
    this.#drain(why);
    this.#streams.dropAbove(lastId, why);
    this.#room();
  }

  #drain(why: UnaryOutcome): void {
    if (this.#state !== 'serving') return;
    this.#state = 'draining';
    this.#host.closing(why);
  }

  #room(): void {
    if (this.#state !== 'draining') this.#host.room();
    else if (this.#streams.size === 0) this.#end(this.#gone('is closed'));
  }

  /** A frame that moves nothing. */
  #idle(): void {
    if (!this.#idleFrames.allows()) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'Too many idle frames.');
  }

  #fail(error: ConnectionError): void {
    if (this.#state === 'closed') return;
    this.#writer.goaway(0, error.code, error.message);
    const message = `The server at ${this.#streams.peer} broke HTTP/2: ${error.message} (${codeName(error.code)})`;
    this.#end(faulty('protocol', GrpcStatus.UNAVAILABLE, message));
  }

  #lost(): void {
    this.#end(this.#gone('was lost'));
  }

  #gone(how: string): UnaryOutcome {
    return faulty('lost', GrpcStatus.UNAVAILABLE, `The connection to ${this.#streams.peer} ${how}.`);
  }

  /** Says the last words and closes; calls that are left end with `why`. */
  #end(why: UnaryOutcome): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#outbox.flush();
    this.#socket.destroySoon();
    // A server that reads nothing more must not keep it open.
    systemTimers.after(lingerMs, () => this.#socket.destroy());
    this.#host.closing(why);
    this.#streams.dropAbove(0, why);
  }
}
