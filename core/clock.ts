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

/** Time that moves only when told to: for tests and the simulator. */
export class VirtualClock implements Clock, Timers {
  #nowMs = 0;
  #sequence = 0;
  #pending: { atMs: number; sequence: number; fire: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fire: () => void): CancelTimer {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), sequence: this.#sequence++, fire };
    this.#pending.push(timer);
    return () => {
      this.#pending = this.#pending.filter((t) => t !== timer);
    };
  }

  /** Moves time forward, firing due timers in order of their instant, then of their making. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      this.#pending.sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence);
      const next = this.#pending[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#pending.shift();
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
    }
    this.#nowMs = endMs;
  }
}
