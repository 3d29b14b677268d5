import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { Duplex } from 'node:stream';
import { GrpcStatus } from '../../core/errors.js';
import { failureBlock } from './grpc-headers.js';
import { FieldKind, type HeaderField } from './header-field.js';
import { HeaderBlock } from './hpack-encoder.js';
import type { Http2Stream, StreamConsumer } from './http2-stream.js';
import { ErrorCode } from './protocol.js';
import type { RequestHead } from './request-head.js';

/** Names the caller to the server behind the tunnel, whose own peer is the tunnel. Callers cannot set it. */
export const tunnelPeerHeader = 'shoal-peer';

const windowBytes = 1024 * 1024;
const block = new HeaderBlock();

/**
 * Carries streams of one caller's connection to another HTTP/2 server, one session for all of them, opened when the
 * first comes. Headers, data with back-pressure, trailers and resets pass in both directions; trailers of requests,
 * which gRPC has not, do not.
 */
export class StreamTunnel {
  readonly #fallback: () => Duplex;
  readonly #maxHeldBytes: number;
  #session: ClientHttp2Session | undefined;

  /** Beyond `maxHeldBytes` of requests that the server behind has not taken, the stream that has too many is reset. */
  constructor(fallback: () => Duplex, maxHeldBytes: number) {
    this.#fallback = fallback;
    this.#maxHeldBytes = maxHeldBytes;
  }

  open(stream: Http2Stream, head: RequestHead): StreamConsumer {
    const passage = new Passage(stream, this.#maxHeldBytes);
    try {
      const headers = requestHeaders(head.fields, stream.owner.peer);
      passage.begin(this.#connected().request(headers, { endStream: stream.isRemoteEnded }));
    } catch {
      // Headers that node refuses, or a server that cannot be reached: the caller is told, and serving goes on.
      passage.refuse();
    }
    return passage;
  }

  /** The caller is gone. */
  close(): void {
    this.#session?.destroy();
    this.#session = undefined;
  }

  #connected(): ClientHttp2Session {
    if (this.#session !== undefined) return this.#session;
    const session = connect('http://tunnel', {
      createConnection: () => this.#fallback(),
      settings: { enablePush: false, initialWindowSize: windowBytes },
    });
    const forget = (): void => {
      if (this.#session === session) this.#session = undefined;
    };
    session.on('connect', () => {
      // Node says 'connect' even where the session has been destroyed meanwhile.
      if (!session.destroyed) session.setLocalWindowSize(windowBytes * 4);
    });
    // The streams of the session end with it, each with its own events; the next stream finds a new session.
    for (const event of ['error', 'goaway', 'close']) session.on(event, forget);
    this.#session = session;
    return session;
  }
}

/** One stream on its way through. */
class Passage implements StreamConsumer {
  readonly #stream: Http2Stream;
  readonly #maxHeldBytes: number;
  #upstream: ClientHttp2Stream | undefined;
  #trailers: readonly string[] | undefined;
  #hasHead = false;
  /** The caller has all there is. */
  #isEnded = false;
  /** Request bytes that upstream has not taken, and the caller may send anew when it has. */
  #heldBytes = 0;

  constructor(stream: Http2Stream, maxHeldBytes: number) {
    this.#stream = stream;
    this.#maxHeldBytes = maxHeldBytes;
  }

  begin(upstream: ClientHttp2Stream): void {
    this.#upstream = upstream;
    upstream.on('headers', (_headers, _flags, raw: readonly string[] = []) => this.#pass(raw, false));
    upstream.on('response', (_headers, flags, raw: readonly string[] = []) => {
      this.#hasHead = true;
      this.#pass(raw, (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0);
    });
    // They may come before the last bytes have been read.
    upstream.on('trailers', (_headers, _flags, raw: readonly string[] = []) => {
      this.#trailers = raw;
    });
    upstream.on('data', (bytes: Buffer) => {
      this.#stream.data(undefined, [bytes], bytes.length, false);
      if (this.#stream.unsent !== undefined) upstream.pause();
    });
    upstream.on('end', () => this.#end());
    upstream.on('drain', () => this.#stream.credit(this.#release()));
    // 'close' follows and says how it ended.
    upstream.on('error', () => undefined);
    upstream.on('close', () => this.#close(upstream.rstCode ?? ErrorCode.NO_ERROR));
  }

  refuse(): void {
    this.#isEnded = true;
    this.#stream.headers(unreachable(), true);
    if (!this.#stream.isRemoteEnded) this.#stream.reset(ErrorCode.NO_ERROR);
  }

  data(bytes: Buffer, start: number, end: number): number {
    const upstream = this.#upstream;
    if (upstream === undefined || upstream.closed || upstream.destroyed) return end - start;
    if (upstream.write(bytes.subarray(start, end))) return end - start;
    const { owner } = this.#stream;
    this.#heldBytes += end - start;
    owner.unfinishedBytes += end - start;
    if (owner.unfinishedBytes > this.#maxHeldBytes) {
      this.closed(ErrorCode.ENHANCE_YOUR_CALM);
      this.#stream.reset(ErrorCode.ENHANCE_YOUR_CALM);
    }
    return 0;
  }

  ended(): void {
    this.#upstream?.end();
  }

  closed(code: number): void {
    this.#isEnded = true;
    this.#release();
    this.#upstream?.close(code);
  }

  drained(): void {
    this.#upstream?.resume();
  }

  giveUp(): void {
    this.#upstream?.close(ErrorCode.CANCEL);
  }

  /** Returns how many bytes had been held. */
  #release(): number {
    const bytes = this.#heldBytes;
    this.#stream.owner.unfinishedBytes -= bytes;
    this.#heldBytes = 0;
    return bytes;
  }

  #pass(raw: readonly string[], isEnd: boolean): void {
    if (this.#isEnded) return;
    this.#isEnded = isEnd;
    block.clear();
    for (let i = 0; i + 1 < raw.length; i += 2) block.field(raw[i] ?? '', raw[i + 1] ?? '');
    this.#stream.headers(block.view(), isEnd);
  }

  #end(): void {
    if (this.#isEnded || !this.#hasHead) return;
    if (this.#trailers !== undefined) {
      this.#pass(this.#trailers, true);
    } else {
      this.#isEnded = true;
      this.#stream.data(undefined, [], 0, true);
    }
  }

  #close(code: number): void {
    this.#release();
    if (!this.#isEnded && !this.#hasHead && code !== ErrorCode.REFUSED_STREAM) {
      this.refuse();
      return;
    }
    // Ended well, but the caller is still sending: whoever closed does not want the rest.
    if (this.#isEnded && !this.#stream.isRemoteEnded) this.#stream.reset(code);
    else if (!this.#isEnded) this.#stream.reset(code === ErrorCode.NO_ERROR ? ErrorCode.INTERNAL_ERROR : code);
    this.#isEnded = true;
  }
}

const unreachable = (): Buffer =>
  failureBlock(GrpcStatus.UNAVAILABLE, 'The service behind this port did not answer; try again.');

function requestHeaders(fields: readonly HeaderField[], peer: string): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (const { name, value, kind } of fields) {
    if (kind === FieldKind.forbidden || name === tunnelPeerHeader) continue;
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else if (typeof before === 'string') headers[name] = [before, value];
    else before.push(value);
  }
  headers[tunnelPeerHeader] = peer;
  return headers;
}
