import type { Clock, Timers } from '../core/clock.js';
import type { Pacer } from './load.js';

/** Node's timers fire up to about a millisecond late; the rest is waited for by turning the event loop. */
const coarseMs = 1.5;

export const systemTimers: Timers = {
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Exact to a turn of the event loop (tens of microseconds), at the price of a busy core. */
export function spinPacer(clock: Clock): Pacer {
  const at = (dueMs: number, fire: () => void): void => {
    const waitMs = dueMs - clock.nowMs();
    if (waitMs > coarseMs + 0.5) setTimeout(at, waitMs - coarseMs, dueMs, fire);
    else if (waitMs > 0) setImmediate(at, dueMs, fire);
    else setImmediate(fire);
  };
  return { at };
}

/** Ordinary timers: arrivals within the same millisecond are sent together, but the core may sleep. */
export function timerPacer(clock: Clock): Pacer {
  return {
    at: (dueMs, fire) => {
      const waitMs = dueMs - clock.nowMs();
      if (waitMs > 0) setTimeout(fire, waitMs);
      else setImmediate(fire);
    },
  };
}
