import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.js';
import { FrameReader, type FrameVisitor } from './frame-reader.js';
import { FrameWriter } from './frame-writer.js';
import { HeaderBlocks } from './header-blocks.js';
import { type ConnectionLimits, RateLimit } from './limits.js';
import { Liveness } from './liveness.js';
import { Outbox } from './outbox.js';
import { readSettings } from './peer-settings.js';
import { http1Refusal, Preface } from './preface.js';
import {
  broken,
  ConnectionError,
  codeName,
  ErrorCode,
  FrameFlag,
  FrameType,
  maxStreamId,
  Setting,
  wrongSize,
} from './protocol.js';
import { type RequestHead, requestHead } from './request-head.js';
import { Sending } from './sending.js';
import { type OpenStream, Streams } from './streams.js';

/** Who owns the connections. */
export interface ConnectionHost {
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly open: OpenStream;
  /** The peer broke the protocol or a limit, and the connection ends for it. */
  readonly protocolError: (peer: string, reason: string) => void;
  readonly closed: (connection: Connection) => void;
}

/** Bytes are taken up to and in `serving`; an `ending` connection has said all it will say. */
type State = 'preface' | 'settings' | 'serving' | 'ending' | 'closed';

/** How long an ended connection may take to say goodbye before it is cut, and a drain to hear its PING answered. */
const lingerMs = 1000;
/** Eight bytes each: the PING between the two GOAWAYs of a drain, and the one that asks whether anybody is there. */
const drainPing = Buffer.from('shoaldrn');
const alivePing = Buffer.from('shoalive');
/** A larger frame keeps the others waiting for too long. */
const maxFrameSent = 65_536;
/** For the operating system's probes: finds peers that vanished while they had no calls. */
const idleProbeMs = 60_000;

/**
 * The server's side of one HTTP/2 connection (RFC 9113) with prior knowledge, straight on a socket. What it has to
 * say in one turn of the event loop goes out in one write. Errors of the peer end the stream or the connection and
 * never throw.
 */
export class Connection implements FrameVisitor {
  readonly #host: ConnectionHost;
  readonly #socket: Socket;
  readonly #outbox: Outbox;
  readonly #writer: FrameWriter;
  readonly #sending: Sending;
  readonly #streams: Streams;
  readonly #blocks: HeaderBlocks<RequestHead>;
  readonly #preface = new Preface();
  readonly #reader = new FrameReader(this);
  readonly #liveness: Liveness;
  readonly #pings: RateLimit;
  readonly #settingsFrames: RateLimit;
  #state: State = 'preface';
  /** When the hello or the goodbye must be over. */
  #untilMs: number;
  #drainPingedMs = Number.NaN;

  constructor(socket: Socket, host: ConnectionHost) {
    const { limits, clock } = host;
    this.#host = host;
    this.#socket = socket;
    this.#outbox = new Outbox(socket, () => this.#written());
    this.#writer = new FrameWriter(this.#outbox);
    this.#sending = new Sending(this.#outbox, (stream) => this.#streams.localEnded(stream));
    this.#streams = new Streams({
      limits,
      clock,
      writer: this.#writer,
      sending: this.#sending,
      peer: `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`,
      open: host.open,
      empty: () => this.#endIfDone(),
    });
    this.#blocks = new HeaderBlocks(limits, requestHead, (streamId, isEnd, head) =>
      this.#streams.head(streamId, isEnd, head),
    );
    this.#liveness = new Liveness(limits);
    this.#pings = new RateLimit(limits.maxPingsPerSecond, clock);
    this.#settingsFrames = new RateLimit(limits.maxSettingsPerSecond, clock);
    this.#untilMs = clock.nowMs() + limits.handshakeMs;
    this.#writer.settings([
      [Setting.MAX_CONCURRENT_STREAMS, limits.maxConcurrentStreams],
      [Setting.INITIAL_WINDOW_SIZE, limits.streamWindowBytes],
      [Setting.MAX_HEADER_LIST_SIZE, limits.maxHeaderListBytes],
    ]);
    this.#streams.creditConnection(0);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, idleProbeMs);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    // What an error says adds nothing: the calls end with the connection.
    for (const event of ['end', 'error', 'close']) socket.on(event, () => this.#lost());
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** Announces the end with two GOAWAYs, lets the streams finish, then closes (section 6.8). */
  drain(): void {
    if (this.#state === 'ending' || this.#state === 'closed' || !Number.isNaN(this.#drainPingedMs)) return;
    this.#drainPingedMs = this.#host.clock.nowMs();
    this.#writer.goaway(maxStreamId, ErrorCode.NO_ERROR, '');
    if (this.#state === 'serving') this.#writer.ping(drainPing, 0);
    else this.#end();
  }

  /** Takes nothing more, lets every call that is left say so, resets what does not, and closes. */
  cut(): void {
    if (this.#state === 'ending' || this.#state === 'closed') return;
    this.#writer.goaway(this.#streams.lastId, ErrorCode.NO_ERROR, '');
    this.#streams.giveUpAll();
    this.#streams.closeAll(ErrorCode.CANCEL, true);
    this.#end();
  }

  destroy(): void {
    this.#socket.destroy();
    this.#lost();
  }

  /** What only time can tell; called about once a second. */
  sweep(nowMs: number): void {
    if (nowMs > this.#untilMs) {
      // Answers that are still on their way to a slow reader get longer.
      const graceMs = this.#socket.writableLength > 0 ? this.#host.limits.keepaliveTimeoutMs : 0;
      if (this.#state === 'ending' && nowMs > this.#untilMs + graceMs) this.destroy();
      else if (this.#state !== 'ending')
        this.#fail(new ConnectionError(ErrorCode.SETTINGS_TIMEOUT, 'The client did not say hello in time.'));
    }
    if (this.#state !== 'serving') return;
    if (this.#blocks.ageMs(nowMs) > this.#host.limits.handshakeMs) {
      this.#fail(new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'A header block did not end in time.'));
      return;
    }
    if (nowMs - this.#drainPingedMs > lingerMs) this.#finishDrain();
    // A caller that does not read its answers is not read from either, and is gone after a while like a silent one.
    const isBusy = this.#streams.size > 0 || this.#socket.writableLength > 0;
    const verdict = this.#liveness.check(nowMs, this.#streams.nowMs, isBusy);
    if (verdict === 'ask') this.#writer.ping(alivePing, 0);
    else if (verdict === 'gone') this.destroy();
  }

  frameBegins(type: number, flags: number, streamId: number, length: number): void {
    if (this.#state === 'settings' && (type !== FrameType.SETTINGS || (flags & FrameFlag.ACK) !== 0)) {
      throw broken('The first frame must be SETTINGS.');
    }
    this.#blocks.frameBegins(type, streamId, length);
  }

  frame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (this.#state === 'ending' || this.#state === 'closed') return;
    const length = end - start;
    switch (type) {
      case FrameType.HEADERS:
        this.#blocks.headers(flags, streamId, bytes, start, end, this.#streams.nowMs);
        break;
      case FrameType.CONTINUATION:
        this.#blocks.continuation(flags, bytes, start, end);
        break;
      case FrameType.WINDOW_UPDATE:
        if (length !== 4) throw wrongSize('WINDOW_UPDATE', length);
        this.#streams.windowUpdate(streamId, bytes.readUInt32BE(start) & maxStreamId);
        break;
      case FrameType.PING:
        if (streamId !== 0) throw broken('PING names a stream.');
        if (length !== 8) throw wrongSize('PING', length);
        this.#pinged(flags, bytes.subarray(start, end));
        break;
      case FrameType.RST_STREAM:
        if (length !== 4) throw wrongSize('RST_STREAM', length);
        this.#streams.resetByPeer(streamId, bytes.readUInt32BE(start));
        break;
      case FrameType.SETTINGS:
        if (streamId !== 0) throw broken('SETTINGS names a stream.');
        this.#settings(flags, bytes, start, end);
        break;
      case FrameType.PRIORITY:
        if (streamId === 0) throw broken('PRIORITY names no stream.');
        if (length !== 5) throw wrongSize('PRIORITY', length);
        this.#streams.idleFrame();
        break;
      case FrameType.GOAWAY:
        if (streamId !== 0) throw broken('GOAWAY names a stream.');
        if (length < 8) throw wrongSize('GOAWAY', length);
        // The client opens nothing more; what it has open ends as usual.
        this.#streams.refuseAbove = this.#streams.lastId;
        this.#endIfDone();
        break;
      case FrameType.PUSH_PROMISE:
        throw broken('A client may not push.');
      default:
        this.#streams.idleFrame();
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
    if (this.#state === 'ending' || this.#state === 'closed') return;
    this.#streams.data(streamId, bytes, start, end, flowBytes, isFrameEnd, isStreamEnd);
  }

  #read(chunk: Buffer): void {
    if (this.#state === 'ending' || this.#state === 'closed') return;
    this.#streams.nowMs = this.#host.clock.nowMs();
    try {
      const from = this.#state === 'preface' ? this.#readPreface(chunk) : 0;
      if (from < chunk.length) this.#reader.read(chunk, from);
    } catch (thrown) {
      if (thrown instanceof ConnectionError) this.#fail(thrown);
      else this.#fail(new ConnectionError(ErrorCode.INTERNAL_ERROR, `Unexpected failure: ${thrown}`));
    }
    const { maxSocketBacklogBytes } = this.#host.limits;
    if (this.#outbox.backlogBytes <= maxSocketBacklogBytes) return;
    this.#outbox.flush();
    if (this.#socket.writableLength > maxSocketBacklogBytes) this.#socket.pause();
  }

  #readPreface(chunk: Buffer): number {
    const matched = this.#preface.match(chunk);
    if (matched !== 'http1') {
      if (this.#preface.isWhole) this.#state = 'settings';
      return matched;
    }
    this.#host.protocolError(this.#streams.peer, 'An HTTP/1 request came to the gRPC port.');
    // Our SETTINGS are still in the outbox, and mean nothing to this client.
    this.#outbox.discard();
    this.#socket.write(http1Refusal);
    this.#end();
    return chunk.length;
  }

  #pinged(flags: number, payload: Buffer): void {
    if ((flags & FrameFlag.ACK) !== 0) {
      if (drainPing.equals(payload) && !Number.isNaN(this.#drainPingedMs)) this.#finishDrain();
      return;
    }
    if (!this.#pings.allows()) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'Too many PINGs.');
    this.#writer.ping(payload, FrameFlag.ACK);
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
    });
    this.#writer.acknowledgeSettings();
    if (this.#state !== 'settings') return;
    this.#state = 'serving';
    this.#untilMs = Number.POSITIVE_INFINITY;
  }

  /** The second GOAWAY: what has come until now is the last that is served. */
  #finishDrain(): void {
    this.#drainPingedMs = Number.POSITIVE_INFINITY;
    this.#streams.refuseAbove = this.#streams.lastId;
    this.#writer.goaway(this.#streams.lastId, ErrorCode.NO_ERROR, '');
    this.#endIfDone();
  }

  /** Ends the connection when one side has announced it and no stream is left. */
  #endIfDone(): void {
    const isOver = this.#streams.refuseAbove !== maxStreamId && this.#streams.size === 0;
    if (isOver && this.#state === 'serving') this.#end();
  }

  /** A connection error: the peer is told, and its calls end. */
  #fail(error: ConnectionError): void {
    if (this.#state === 'ending' || this.#state === 'closed') return;
    this.#host.protocolError(this.#streams.peer, `${error.message} (${codeName(error.code)})`);
    this.#writer.goaway(this.#streams.lastId, error.code, error.message);
    this.#end();
    this.#streams.closeAll(error.code, false);
  }

  /**
   * Says the last words and waits for the peer's: closing with bytes unread would make the operating system drop
   * what the peer has not read yet.
   */
  #end(): void {
    this.#state = 'ending';
    this.#untilMs = this.#host.clock.nowMs() + lingerMs;
    this.#outbox.flush();
    this.#socket.end();
    this.#socket.resume();
  }

  #written(): void {
    if (this.#state === 'closed') return;
    if (this.#socket.isPaused() && this.#outbox.backlogBytes * 2 < this.#host.limits.maxSocketBacklogBytes) {
      this.#socket.resume();
    }
    this.#sending.pump();
  }

  #lost(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#socket.destroy();
    this.#streams.closeAll(ErrorCode.CANCEL, false);
    this.#host.closed(this);
  }
}
