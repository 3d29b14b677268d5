import type { Timers } from '../core/clock.js';

/** Longest delay Node's timers take; beyond it they would fire at once. */
const maxDelayMs = 2 ** 31 - 1;

/** Real timers. They never keep the process alive: servers and children do that. */
export const systemTimers: Timers = {
  after(delayMs, fire) {
    // Rounded up: a timer that fires a fraction early finds nothing due and has to be set again.
    const timer = setTimeout(fire, Math.min(maxDelayMs, Math.ceil(Math.max(0, delayMs))));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
