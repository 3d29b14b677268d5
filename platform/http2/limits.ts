import type { Clock } from '../../core/clock.js';

/** What one connection may make this server hold or do. Bytes, milliseconds, counts per second. */
export interface ConnectionLimits {
  /** Streams open at once; more are refused with REFUSED_STREAM, which callers may retry. */
  readonly maxConcurrentStreams: number;
  /** A request's headers by RFC 9113's count (name + value + 32 each); more is answered RESOURCE_EXHAUSTED. */
  readonly maxHeaderListBytes: number;
  /** A header block as sent, over all its frames; more ends the connection. */
  readonly maxHeaderBlockBytes: number;
  /** CONTINUATION frames of one header block; more ends the connection. */
  readonly maxContinuations: number;
  /** Streams that the caller resets within `youngStreamMs` of opening them (CVE-2023-44487). */
  readonly maxQuickResetsPerSecond: number;
  /** A stream reset later than this is a caller whose patience ended, which is never held against it. */
  readonly youngStreamMs: number;
  /** Each is answered. */
  readonly maxPingsPerSecond: number;
  /** Each is answered and may change the window of every stream. */
  readonly maxSettingsPerSecond: number;
  /** Frames that mean nothing: empty DATA, frames for closed streams, unknown types, refused streams. */
  readonly maxIdleFramesPerSecond: number;
  /**
   * Request bytes held for calls whose message has not arrived whole, and for tunnelled streams whose server does not
   * take them; a call with more is answered RESOURCE_EXHAUSTED, a stream reset.
   */
  readonly maxUnfinishedBytes: number;
  /** Answer bytes that wait for the caller's windows or socket; above it new streams are refused. */
  readonly maxUnsentBytes: number;
  /** Bytes in the socket's write buffer above which nothing more is read from the connection. */
  readonly maxSocketBacklogBytes: number;
  /** From the connection to the client's first SETTINGS, and from a header block's start to its end. */
  readonly handshakeMs: number;
  /** With calls under way and nothing heard for so long, a PING is sent. */
  readonly keepaliveMs: number;
  /** The connection is dropped when nothing at all is heard for so long after that PING. */
  readonly keepaliveTimeoutMs: number;
  /** How many bytes a caller may send before it must wait, per stream. */
  readonly streamWindowBytes: number;
  /** The same for the whole connection. */
  readonly connectionWindowBytes: number;
}

const MiB = 1024 * 1024;

export const defaultLimits: ConnectionLimits = {
  maxConcurrentStreams: 16_384,
  maxHeaderListBytes: 16_384,
  maxHeaderBlockBytes: 65_536,
  maxContinuations: 16,
  maxQuickResetsPerSecond: 1000,
  youngStreamMs: 5,
  // Bandwidth probes of Go clients on a fast link are honest and come by the thousand.
  maxPingsPerSecond: 10_000,
  maxSettingsPerSecond: 100,
  maxIdleFramesPerSecond: 10_000,
  maxUnfinishedBytes: 1024 * MiB,
  maxUnsentBytes: 512 * MiB,
  maxSocketBacklogBytes: 4 * MiB,
  handshakeMs: 10_000,
  keepaliveMs: 30_000,
  keepaliveTimeoutMs: 10_000,
  streamWindowBytes: 8 * MiB,
  connectionWindowBytes: 32 * MiB,
};

/** Counts events and says when there were more than `perSecond` within one second. */
export class RateLimit {
  readonly #perSecond: number;
  readonly #clock: Clock;
  #sinceMs = Number.NEGATIVE_INFINITY;
  #count = 0;

  constructor(perSecond: number, clock: Clock) {
    this.#perSecond = perSecond;
    this.#clock = clock;
  }

  /** True while within the limit. */
  allows(): boolean {
    if (++this.#count <= this.#perSecond) return true;
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#sinceMs < 1000) return false;
    this.#sinceMs = nowMs;
    this.#count = 1;
    return true;
  }
}
