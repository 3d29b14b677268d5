import type { Clock } from '../../core/clock.js';

/**
 * Real time spent in the coordinator's code, as opposed to the simulator's around it. Whoever crosses the line says so:
 * `inside` on the way into the coordinator, `outside` where the coordinator calls back (a link's `send`, a reply).
 */
export class CoordinatorMeter {
  readonly #clock: Clock;
  #isInside = false;
  #sinceMs = 0;
  #spentMs = 0;
  #crossings = 0;
  #resetMs = 0;

  constructor(realClock: Clock) {
    this.#clock = realClock;
  }

  get spentMs(): number {
    return this.#spentMs;
  }

  /** Each costs the reading of a clock, about half of which is booked as the coordinator's. */
  get crossings(): number {
    return this.#crossings;
  }

  /** Real time since the last reset, inside and outside. */
  get elapsedMs(): number {
    return this.#clock.nowMs() - this.#resetMs;
  }

  reset(): void {
    this.#resetMs = this.#clock.nowMs();
    this.#spentMs = 0;
    this.#crossings = 0;
  }

  inside<T>(run: () => T): T {
    return this.#cross(true, run);
  }

  outside<T>(run: () => T): T {
    return this.#cross(false, run);
  }

  #cross<T>(isInside: boolean, run: () => T): T {
    const before = this.#isInside;
    if (before === isInside) return run();
    this.#turn(isInside);
    try {
      return run();
    } finally {
      this.#turn(before);
    }
  }

  #turn(isInside: boolean): void {
    const nowMs = this.#clock.nowMs();
    this.#crossings++;
    if (this.#isInside) this.#spentMs += nowMs - this.#sinceMs;
    this.#isInside = isInside;
    this.#sinceMs = nowMs;
  }
}
