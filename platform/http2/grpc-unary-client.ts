import { connect, type Socket } from 'node:net';
import { type Clock, systemClock } from '../../core/clock.js';
import { DeadlineHeap } from '../../core/deadline-heap.js';
import { GrpcStatus } from '../../core/errors.js';
import { systemTimers } from '../timers.js';
import { type CallEnded, type CallOwner, ClientCall } from './client-call.js';
import { ClientConnection } from './client-connection.js';
import { type ConnectionLimits, defaultLimits } from './limits.js';
import { CallHead } from './request-blocks.js';
import { type CallFault, faulty, type UnaryOutcome } from './unary-outcome.js';

export interface GrpcUnaryClientOptions {
  /** `host:port`; IPv6 addresses in brackets. No scheme, and no TLS. */
  readonly address: string;
  /** A larger answer ends its call, before it has been received. Default 256 MiB. */
  readonly maxMessageBytes?: number;
  /** Calls under way and waiting together; further ones fail at once. Default 100,000. */
  readonly maxCalls?: number;
  readonly limits?: Partial<ConnectionLimits>;
  readonly clock?: Clock;
}

/** There is no connection, or no longer. */
export class ConnectFailure extends Error {
  readonly fault: CallFault;

  constructor(fault: CallFault, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ConnectFailure';
    this.fault = fault;
  }
}

const sweepMs = 1000;
const defaultMaxMessageBytes = 256 * 1024 * 1024;

/**
 * A client for the unary calls of one server over one connection of its own: HTTP/2 straight on a socket, without TLS
 * and without a balancer or retries. It does not connect again: `failure` says when it has ended.
 */
export class GrpcUnaryClient implements CallOwner {
  readonly maxMessageBytes: number;
  readonly #authority: string;
  readonly #maxCalls: number;
  readonly #clock: Clock;
  readonly #connection: ClientConnection;
  readonly #deadlines = new DeadlineHeap<ClientCall>();
  /** Calls for which the server has no stream free, in order. */
  readonly #waiting = new Set<ClientCall>();
  #failure: UnaryOutcome | undefined;
  /** Until the server has said hello. */
  #greeted: (() => void) | undefined;
  #connectFailed: ((why: UnaryOutcome) => void) | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #stopTimer: (() => void) | undefined;
  #stopSweep: (() => void) | undefined;

  private constructor(socket: Socket, options: GrpcUnaryClientOptions) {
    this.maxMessageBytes = options.maxMessageBytes ?? defaultMaxMessageBytes;
    this.#authority = options.address;
    this.#maxCalls = options.maxCalls ?? 100_000;
    this.#clock = options.clock ?? systemClock;
    this.#connection = new ClientConnection(socket, {
      clock: this.#clock,
      limits: { ...defaultLimits, ...options.limits },
      greeted: () => this.#greeted?.(),
      room: () => this.#sendWaiting(),
      closing: (why) => this.#closing(why),
    });
  }

  /**
   * Resolves when the server has said hello.
   * @throws ConnectFailure when nobody listens, or what listens does not speak HTTP/2, or not within `timeoutMs`
   */
  static connect(options: GrpcUnaryClientOptions, timeoutMs: number): Promise<GrpcUnaryClient> {
    return new Promise((resolve, reject) => {
      const { host, port } = parseAddress(options.address);
      const socket = connect({ host, port, noDelay: true });
      const fail = (fault: CallFault, message: string, cause?: unknown): void => {
        stop();
        socket.destroy();
        reject(new ConnectFailure(fault, message, cause));
      };
      const stop = systemTimers.after(timeoutMs, () =>
        fail('silent', `${options.address} did not answer in HTTP/2 within ${timeoutMs} ms.`),
      );
      socket.on('error', (error) => fail('lost', `No connection to ${options.address}: ${error.message}.`, error));
      socket.once('connect', () => {
        const client = new GrpcUnaryClient(socket, options);
        client.#greeted = () => {
          stop();
          client.#connectFailed = undefined;
          resolve(client);
        };
        client.#connectFailed = ({ fault, message }) => fail(fault ?? 'lost', message);
      });
    });
  }

  /** Why no more calls are taken; undefined while they are. */
  get failure(): UnaryOutcome | undefined {
    return this.#failure;
  }

  /** Calls under way or waiting for a stream. */
  get callCount(): number {
    return this.#connection.callCount + this.#waiting.size;
  }

  /** Request bytes that the operating system has not taken yet: who sends large messages looks at it first. */
  get unsentBytes(): number {
    return this.#connection.unsentBytes;
  }

  /**
   * The headers of calls to `path`, as in `/inference.GRPCInferenceService/ModelInfer`, with `metadata` (lower-case
   * names, printable ASCII). Made once and used for many calls of this client.
   */
  head(path: string, metadata: readonly (readonly [name: string, value: string])[] = []): CallHead {
    return new CallHead([
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', path],
      [':authority', this.#authority],
      ['te', 'trailers'],
      ['content-type', 'application/grpc'],
      ...metadata,
    ]);
  }

  /**
   * Starts a call. `ended` is called once, and never before this has returned.
   * @param message the serialised request; must not change any more: a call that has ended may still have parts of it
   * on their way out
   * @param timeoutMs the call's deadline, here and at the server; Infinity: none
   */
  call(head: CallHead, message: Uint8Array, timeoutMs: number, ended: CallEnded): ClientCall {
    const expiresMs = timeoutMs === Number.POSITIVE_INFINITY ? timeoutMs : this.#clock.nowMs() + timeoutMs;
    const call = new ClientCall(this, head, message, expiresMs, ended);
    const refusal = this.#refusal(message, timeoutMs);
    if (refusal !== undefined) {
      setImmediate(() => call.finish(refusal));
      return call;
    }
    if (timeoutMs !== Number.POSITIVE_INFINITY) {
      this.#deadlines.add(call);
      this.#watchDeadlines();
    }
    this.#stopSweep ??= this.#sweepLater();
    if (this.#connection.hasRoom) this.#connection.open(call, timeoutMs);
    else this.#waiting.add(call);
    return call;
  }

  /** For `ClientCall` alone. */
  over(call: ClientCall): void {
    this.#deadlines.remove(call);
    this.#waiting.delete(call);
    if (call.stream !== undefined) this.#connection.over(call.stream);
  }

  /** Ends the connection. Calls that are left end CANCELLED. */
  close(): void {
    this.#connection.close(faulty('cancelled', GrpcStatus.CANCELLED, 'The client was closed.'));
  }

  #refusal(message: Uint8Array, timeoutMs: number): UnaryOutcome | undefined {
    if (this.#failure !== undefined) return this.#failure;
    if (timeoutMs <= 0) return expired;
    if (message.length > 0xffff_ffff) {
      return faulty('too-large', GrpcStatus.INTERNAL, 'The request is longer than the 2^32-1 bytes of a gRPC message.');
    }
    if (this.callCount < this.#maxCalls) return undefined;
    const words = `${this.#maxCalls} calls to ${this.#authority} are under way; no more are taken.`;
    return faulty('busy', GrpcStatus.RESOURCE_EXHAUSTED, words);
  }

  #sendWaiting(): void {
    for (const call of this.#waiting) {
      if (!this.#connection.hasRoom) return;
      const leftMs = call.expiresMs - this.#clock.nowMs();
      // One whose time is over would only be work for nobody; its timer ends it.
      if (leftMs <= 0) continue;
      this.#waiting.delete(call);
      this.#connection.open(call, leftMs);
    }
  }

  #closing(why: UnaryOutcome): void {
    this.#failure ??= why;
    this.#connectFailed?.(why);
    for (const call of [...this.#waiting]) call.finish(why);
  }

  #watchDeadlines(): void {
    const { earliestMs } = this.#deadlines;
    if (earliestMs >= this.#timerAtMs) return;
    this.#stopTimer?.();
    this.#timerAtMs = earliestMs;
    this.#stopTimer = systemTimers.after(earliestMs - this.#clock.nowMs(), () => {
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      const nowMs = this.#clock.nowMs();
      for (let late = this.#deadlines.popExpired(nowMs); late !== undefined; late = this.#deadlines.popExpired(nowMs)) {
        late.finish(expired);
      }
      this.#watchDeadlines();
    });
  }

  #sweepLater(): () => void {
    return systemTimers.after(sweepMs, () => {
      this.#connection.sweep(this.#clock.nowMs());
      this.#stopSweep = this.callCount > 0 ? this.#sweepLater() : undefined;
    });
  }
}

const expired = faulty('deadline', GrpcStatus.DEADLINE_EXCEEDED, "The call's deadline passed before it was answered.");

/** @throws ConnectFailure */
function parseAddress(address: string): { host: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/[\]]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535) {
    throw new ConnectFailure('lost', `"${address}" is not an address like host:port or [::1]:port.`);
  }
  return { host, port };
}
