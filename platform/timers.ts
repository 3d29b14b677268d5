import { systemClock, type Timers } from '../core/clock.js';

/** Longest delay Node's timers take; beyond it they would fire at once. A longer wait is several. */
const maxDelayMs = 2 ** 31 - 1;

/**
 * Real timers. They never keep the process alive: servers and children do that.
 *
 * Node rounds instants down to whole milliseconds, so that its timers may fire up to one early. Ours do not, for there
 * are those who act once and look at the clock.
 */
export const systemTimers: Timers = {
  after(delayMs, fire) {
    const dueMs = systemClock.nowMs() + delayMs;
    let timer: NodeJS.Timeout | undefined;
    const wait = (leftMs: number): void => {
      timer = setTimeout(
        () => {
          const stillMs = dueMs - systemClock.nowMs();
          if (stillMs > 0) wait(stillMs);
          else fire();
        },
        Math.min(maxDelayMs, Math.ceil(Math.max(0, leftMs))),
      );
      timer.unref();
    };
    wait(delayMs);
    return () => clearTimeout(timer);
  },
};
