import type { Clock } from '../../../core/clock.js';
import type { Blame } from '../referee.js';

/** More than a thousand workers that speak at once, or a trace that asks everything at once, ever need. */
const mostAtOnce = 1_000_000;

/** Time moves on: nobody goes on setting timers that are due at once, or deferring work to the very same instant. */
export class ProgressCheck {
  readonly #blame: Blame;
  readonly #clock: Clock;
  readonly #most: number;
  #atMs = -1;
  #count = 0;

  constructor(blame: Blame, clock: Clock, most = mostAtOnce) {
    this.#blame = blame;
    this.#clock = clock;
    this.#most = most;
  }

  /** Something is about to happen now. False: this has gone on for too long. */
  happens(): boolean {
    const nowMs = this.#clock.nowMs();
    if (nowMs > this.#atMs) {
      this.#atMs = nowMs;
      this.#count = 0;
    }
    if (++this.#count <= this.#most) return true;
    this.#blame(
      'time-moves-on',
      `More than ${this.#most} things happened at ${nowMs.toFixed(3)} ms, and there is no end of it.`,
    );
    return false;
  }
}
