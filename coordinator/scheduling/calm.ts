import type { Lane } from './lane.js';

/** A version without a request for so long is not expected to get one now. */
const recentMs = 10_000;
/** With more versions in use something is always about to happen. */
const mostLanes = 8;

/** Which versions are in use, and until when nothing can be done for any of them. */
export class Calm {
  /** In the order of their last arrivals, so that those out of use stand in front. */
  readonly #lastArrivalMs = new Map<Lane, number>();

  arrived(lane: Lane, nowMs: number): void {
    this.#lastArrivalMs.delete(lane);
    this.#lastArrivalMs.set(lane, nowMs);
  }

  forget(lane: Lane): void {
    this.#lastArrivalMs.delete(lane);
  }

  /**
   * The instant until which a new request, whichever version in use it is for, could only be put in a queue, because
   * every instance is busy; `nowMs` or earlier when one may be served at once.
   */
  untilMs(nowMs: number): number {
    for (const [lane, lastMs] of this.#lastArrivalMs) {
      if (nowMs - lastMs <= recentMs) break;
      this.#lastArrivalMs.delete(lane);
    }
    const { size } = this.#lastArrivalMs;
    if (size === 0 || size > mostLanes) return nowMs;
    let untilMs = Number.POSITIVE_INFINITY;
    for (const lane of this.#lastArrivalMs.keys()) {
      const { first } = lane.busy;
      if (lane.idle.size > 0 || first === undefined) return nowMs;
      untilMs = Math.min(untilMs, first.freeAtMs - lane.leadMs);
    }
    return untilMs;
  }
}
