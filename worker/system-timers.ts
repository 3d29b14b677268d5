import type { Timers } from '../core/clock.js';

/** Timers of the event loop, which never keep the process alive by themselves. */
export const systemTimers: Timers = {
  after(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
