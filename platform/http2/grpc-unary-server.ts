import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Clock, systemClock } from '../../core/clock.js';
import { GrpcStatus } from '../../core/errors.js';
import { systemTimers } from '../timers.js';
import { Connection, type ConnectionHost } from './connection.js';
import { failureBlock, httpRefusalBlock, isGrpcType, parseTimeoutMs } from './grpc-headers.js';
import type { Http2Stream, StreamConsumer } from './http2-stream.js';
import { Inflation } from './inflation.js';
import { type ConnectionLimits, defaultLimits } from './limits.js';
import { ErrorCode } from './protocol.js';
import type { RequestHead } from './request-head.js';
import { StreamTunnel } from './stream-tunnel.js';
import { type ExchangeParts, UnaryExchange } from './unary-exchange.js';
import type { UnaryFailure, UnaryMethod } from './unary-method.js';

export interface GrpcUnaryServerOptions {
  /** By path, as in `/inference.GRPCInferenceService/ModelInfer`. */
  readonly methods: ReadonlyMap<string, UnaryMethod>;
  /** A connection to the server of all other calls; see `openGrpcFallback`. */
  readonly fallback: () => Duplex;
  /** A larger request message is answered RESOURCE_EXHAUSTED, before it has been received. */
  readonly maxMessageBytes: number;
  readonly limits?: Partial<ConnectionLimits>;
  /** Connections beyond these are closed at once. Default 10,000. */
  readonly maxConnections?: number;
  /** A caller broke the protocol or a limit, and its connection ends; the reason is a sentence and a code's name. */
  readonly onProtocolError?: (peer: string, reason: string) => void;
  /** Puts this server's own refusals of a call (too large, no message, not unpacked) into other words. */
  readonly onRefused?: (failure: UnaryFailure) => UnaryFailure;
  /** What a call is answered whose method threw. Default: INTERNAL, and no word of the reason. */
  readonly onMethodError?: (thrown: unknown) => UnaryFailure;
  /** What calls are answered that outlast a drain. Default: UNAVAILABLE. */
  readonly closing?: UnaryFailure;
  readonly clock?: Clock;
}

const sweepMs = 1000;
/** After the grace period, for the last words to reach their callers. */
const lastWordsMs = 1000;

/** Takes what comes for a stream that has been answered already. */
const deaf: StreamConsumer = {
  data: (_bytes, start, end) => end - start,
  ended: () => undefined,
  closed: () => undefined,
  drained: () => undefined,
  giveUp: () => undefined,
};

/**
 * A gRPC server for a few hot unary methods: HTTP/2 straight on sockets, in this process. Every other call is
 * tunnelled to the server behind `fallback`, so that both share one port.
 */
export class GrpcUnaryServer {
  readonly #options: GrpcUnaryServerOptions;
  readonly #limits: ConnectionLimits;
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #parts: ExchangeParts;
  #stopSweep: (() => void) | undefined;
  #isDraining = false;
  #whenEmpty: (() => void) | undefined;

  constructor(options: GrpcUnaryServerOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#parts = {
      maxMessageBytes: options.maxMessageBytes,
      maxUnfinishedBytes: this.#limits.maxUnfinishedBytes,
      inflation: new Inflation(options.maxMessageBytes),
      refused: options.onRefused ?? ((failure) => failure),
      thrown: options.onMethodError ?? (() => ({ status: GrpcStatus.INTERNAL, message: 'The method failed.' })),
      closing: options.closing ?? {
        status: GrpcStatus.UNAVAILABLE,
        message: 'This server shut down before the answer was ready.',
      },
    };
    this.#server = createServer({ noDelay: true }, (socket) => this.accept(socket));
    this.#server.maxConnections = options.maxConnections ?? 10_000;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Calls and tunnelled streams under way. */
  get streamCount(): number {
    let count = 0;
    for (const connection of this.#connections) count += connection.streamCount;
    return count;
  }

  /** Rejects with the system's error (EADDRINUSE and others) when the address cannot be had. Port 0: any free one. */
  listen(port: number, host: string): Promise<{ port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        // A connection that could not be accepted, for want of file descriptors for example.
        this.#server.on('error', (error) => this.#options.onProtocolError?.('unknown', error.message));
        const address = this.#server.address();
        resolve({ port: typeof address === 'object' && address !== null ? address.port : port });
      });
    });
  }

  /** Serves one connection that somebody else accepted. */
  accept(socket: Socket): void {
    if (this.#isDraining) {
      socket.destroy();
      return;
    }
    const tunnel = new StreamTunnel(this.#options.fallback, this.#limits.maxUnfinishedBytes);
    const host: ConnectionHost = {
      clock: this.#clock,
      limits: this.#limits,
      open: (stream, head) => this.#open(stream, head, tunnel),
      protocolError: (peer, reason) => this.#options.onProtocolError?.(peer, reason),
      closed: (connection) => {
        tunnel.close();
        this.#connections.delete(connection);
        if (this.#connections.size === 0) this.#whenEmpty?.();
      },
    };
    this.#connections.add(new Connection(socket, host));
    this.#stopSweep ??= this.#sweepLater();
  }

  /**
   * Takes no new connections, tells callers with GOAWAY to open nothing more here, waits up to `graceMs` for calls to
   * be answered, answers the rest with `closing`, and closes.
   * @returns how many calls outlasted the grace period
   */
  async drain(graceMs: number): Promise<number> {
    this.#isDraining = true;
    if (this.#server.listening) this.#server.close();
    for (const connection of [...this.#connections]) connection.drain();
    let late = 0;
    if (!(await this.#emptyWithin(graceMs))) {
      late = this.streamCount;
      for (const connection of [...this.#connections]) connection.cut();
      if (!(await this.#emptyWithin(lastWordsMs))) {
        for (const connection of [...this.#connections]) connection.destroy();
      }
    }
    this.#stopSweep?.();
    return late;
  }

  #emptyWithin(ms: number): Promise<boolean> {
    if (this.#connections.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const stop = systemTimers.after(ms, () => resolve(false));
      this.#whenEmpty = () => {
        stop();
        resolve(true);
      };
    });
  }

  #sweepLater(): () => void {
    const { handshakeMs, keepaliveMs, keepaliveTimeoutMs } = this.#limits;
    const everyMs = Math.min(sweepMs, handshakeMs / 2, keepaliveMs / 2, keepaliveTimeoutMs / 2);
    return systemTimers.after(everyMs, () => {
      const nowMs = this.#clock.nowMs();
      for (const connection of [...this.#connections]) connection.sweep(nowMs);
      this.#stopSweep = this.#connections.size > 0 ? this.#sweepLater() : undefined;
    });
  }

  #open(stream: Http2Stream, head: RequestHead, tunnel: StreamTunnel): StreamConsumer {
    if (head.isTooLarge) {
      const message = `The request's headers are larger than the ${this.#limits.maxHeaderListBytes} bytes allowed.`;
      return this.#refuse(stream, { status: GrpcStatus.RESOURCE_EXHAUSTED, message });
    }
    const method = this.#options.methods.get(head.path);
    if (method === undefined) return tunnel.open(stream, head);
    if (head.method !== 'POST') {
      return refused(
        stream,
        httpRefusalBlock(405, `gRPC calls are POST, and this was ${head.method}.`, [['allow', 'POST']]),
      );
    }
    if (!isGrpcType(head.contentType)) {
      const got = head.contentType === '' ? 'none' : `"${head.contentType}"`;
      return refused(stream, httpRefusalBlock(415, `The content-type must be application/grpc, and there was ${got}.`));
    }
    let deadlineMs = Number.POSITIVE_INFINITY;
    if (head.grpcTimeout !== undefined) {
      deadlineMs = stream.openedMs + parseTimeoutMs(head.grpcTimeout);
      if (Number.isNaN(deadlineMs)) {
        const message = `The grpc-timeout "${head.grpcTimeout}" is not up to eight digits and a unit.`;
        return this.#refuse(stream, { status: GrpcStatus.INTERNAL, message });
      }
    }
    return new UnaryExchange(stream, head, method, this.#parts, deadlineMs);
  }

  #refuse(stream: Http2Stream, failure: UnaryFailure): StreamConsumer {
    const { status, message, trailers } = this.#parts.refused(failure);
    return refused(stream, failureBlock(status, message, trailers));
  }
}

function refused(stream: Http2Stream, block: Buffer): StreamConsumer {
  stream.headers(block, true);
  if (!stream.isRemoteEnded) stream.reset(ErrorCode.NO_ERROR);
  return deaf;
}
