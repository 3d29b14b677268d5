import type { CancelTimer, Clock, Timers } from '../../core/clock.js';

interface Execution {
  /** Milliseconds of the device's whole attention that are still to come. */
  leftMs: number;
  readonly done: () => void;
}

/** Work so small that only rounding has left it. */
const nothingMs = 1e-9;

/**
 * A device of `lanes` equal parts (cores, streams): up to so many executions run at full speed, more share it evenly.
 * Its speed can change while they run; at 0 they stand still.
 */
export class SimDevice {
  readonly name: string;
  readonly #clock: Clock & Timers;
  readonly #lanes: number;
  readonly #running = new Set<Execution>();
  #speed = 1;
  #countedMs = 0;
  #busyMs = 0;
  #cancelWake: CancelTimer | undefined;

  constructor(name: string, lanes: number, clock: Clock & Timers) {
    this.name = name;
    this.#lanes = lanes;
    this.#clock = clock;
  }

  /** How long at least one execution has been on it, milliseconds. */
  get busyMs(): number {
    this.#count();
    return this.#busyMs;
  }

  /** Runs `workMs` of work, measured on this device alone at speed 1. The returned function breaks it off. */
  run(workMs: number, done: () => void): () => void {
    this.#count();
    const execution: Execution = { leftMs: workMs, done };
    this.#running.add(execution);
    this.#plan();
    return () => {
      this.#count();
      this.#running.delete(execution);
      this.#plan();
    };
  }

  /** 1: as its profile says; 0.2: five times slower; 0: stands still. */
  setSpeed(speed: number): void {
    this.#count();
    this.#speed = speed;
    this.#plan();
  }

  get #pace(): number {
    return this.#speed * Math.min(1, this.#lanes / Math.max(1, this.#running.size));
  }

  /** Books what was done since the last change. */
  #count(): void {
    const nowMs = this.#clock.nowMs();
    const sinceMs = nowMs - this.#countedMs;
    this.#countedMs = nowMs;
    if (this.#running.size === 0 || sinceMs === 0) return;
    this.#busyMs += sinceMs;
    const doneMs = sinceMs * this.#pace;
    for (const execution of this.#running) execution.leftMs -= doneMs;
  }

  #plan(): void {
    this.#cancelWake?.();
    this.#cancelWake = undefined;
    const pace = this.#pace;
    if (this.#running.size === 0 || pace === 0) return;
    let leastMs = Number.POSITIVE_INFINITY;
    for (const { leftMs } of this.#running) leastMs = Math.min(leastMs, leftMs);
    this.#cancelWake = this.#clock.after(leastMs / pace, () => this.#finish());
  }

  #finish(): void {
    this.#cancelWake = undefined;
    this.#count();
    const finished = [...this.#running].filter(({ leftMs }) => leftMs <= nothingMs);
    for (const execution of finished) this.#running.delete(execution);
    this.#plan();
    for (const { done } of finished) done();
  }
}
