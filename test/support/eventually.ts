import { systemClock } from '../../core/clock.js';

/** Repeats `check` until it stops throwing; after `withinMs` its last complaint is thrown. */
export async function eventually<T>(check: () => T | Promise<T>, withinMs = 5000): Promise<T> {
  const endMs = systemClock.nowMs() + withinMs;
  for (;;) {
    try {
      return await check();
    } catch (thrown) {
      if (systemClock.nowMs() > endMs) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
