import type { Lane } from './lane.js';

/** A version without a request for so long is not expected to get one now. */
const recentMs = 10_000;
/** With more versions in use something is always about to happen. */
const mostLanes = 8;

/** Which versions are in use, and until when nothing can be done for any of them. */
export class Calm {
  readonly #lastArrivalMs = new Map<Lane, number>();

  arrived(lane: Lane, nowMs: number): void {
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
    let untilMs = Number.POSITIVE_INFINITY;
    for (const [lane, lastMs] of this.#lastArrivalMs) {
      if (nowMs - lastMs > recentMs) {
        this.#lastArrivalMs.delete(lane);
        continue;
      }
      const { first } = lane.busy;
      if (lane.idle.size > 0 || first === undefined) return nowMs;
      untilMs = Math.min(untilMs, first.freeAtMs - lane.leadMs);
    }
    return this.#lastArrivalMs.size > mostLanes || untilMs === Number.POSITIVE_INFINITY ? nowMs : untilMs;
  }
}
