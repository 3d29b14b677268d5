import { type HeapItem, IndexedHeap } from './indexed-heap.js';

/**
 * The only source of time. Decisions take `nowMs` as an argument; shells ask a `Clock`.
 * Instants are monotonic milliseconds (fractional); they mean nothing outside this process.
 */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary origin. */
  nowMs(): number;
}

export const systemClock: Clock = { nowMs: () => performance.now() };

/**
 * Microseconds of the machine's monotonic clock: the same origin in every process of this machine,
 * so that an instant can be handed to a child process. A double holds it exactly for centuries.
 */
export const machineNowUs = (): number => Number(process.hrtime.bigint()) / 1000;

/** Wall-clock milliseconds since the Unix epoch, for log lines and metadata shown to people only. */
export const wallClockMs = (): number => Date.now();

export type CancelTimer = () => void;

/** One-shot timers, so that shells can be driven in virtual time. */
export interface Timers {
  /** Calls `fire` once, no earlier than `delayMs` from now. The timer never keeps a process alive by itself. */
  after(delayMs: number, fire: () => void): CancelTimer;
}

interface VirtualTimer extends HeapItem {
  readonly atMs: number;
  readonly sequence: number;
  readonly fire: () => void;
}

/** Time that moves only when told to: for tests and the simulator. */
export class VirtualClock implements Clock, Timers {
  #nowMs = 0;
  #sequence = 0;
  readonly #timers = new IndexedHeap<VirtualTimer>(
    (a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence),
  );
  #deferred: (() => void)[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  /** Timers that were set and neither fired nor cancelled. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** The instant of the next timer; Infinity when there is none. */
  get nextMs(): number {
    return this.#timers.first?.atMs ?? Number.POSITIVE_INFINITY;
  }

  after(delayMs: number, fire: () => void): CancelTimer {
    const atMs = this.#nowMs + Math.max(0, delayMs);
    const timer: VirtualTimer = { atMs, sequence: this.#sequence++, fire, heapIndex: -1 };
    this.#timers.add(timer);
    return () => this.#timers.remove(timer);
  }

  /** What `setImmediate` is in real time: runs once, at this very instant, when the event under way has ended. */
  readonly defer = (run: () => void): void => {
    this.#deferred.push(run);
  };

  /** Moves to the next timer, fires it, and runs what was deferred. False when there is no timer. */
  step(): boolean {
    this.#runDeferred();
    const next = this.#timers.first;
    if (next === undefined) return false;
    this.#timers.remove(next);
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    next.fire();
    this.#runDeferred();
    return true;
  }

  /** Moves time forward, firing due timers in order of their instant, then of their making. */
  advance(ms: number): void {
    this.runUntil(this.#nowMs + ms);
  }

  /** As `advance`, to an instant. */
  runUntil(endMs: number): void {
    this.#runDeferred();
    while (this.nextMs <= endMs) this.step();
    this.#nowMs = Math.max(this.#nowMs, endMs);
  }

  #runDeferred(): void {
    while (this.#deferred.length > 0) {
      const turn = this.#deferred;
      this.#deferred = [];
      for (const run of turn) run();
    }
  }
}
