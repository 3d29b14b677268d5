import { expect, it } from 'vitest';
import { systemClock } from '../../../core/clock.js';
import { systemTimers } from '../../../platform/timers.js';

const firedAfterMs = (delayMs: number): Promise<number> => {
  const startMs = systemClock.nowMs();
  return new Promise((resolve) => systemTimers.after(delayMs, () => resolve(systemClock.nowMs() - startMs)));
};

it('never fires early, at whatever fraction of a millisecond it was set', async () => {
  const fired: Promise<number>[] = [];
  for (let i = 0; i < 100; i++) {
    fired.push(firedAfterMs(20));
    const nextMs = systemClock.nowMs() + 0.13;
    while (systemClock.nowMs() < nextMs) Math.sqrt(nextMs);
  }
  expect(Math.min(...(await Promise.all(fired)))).toBeGreaterThanOrEqual(20);
});

it('does not fire once cancelled', async () => {
  let fired = false;
  const cancel = systemTimers.after(5, () => {
    fired = true;
  });
  cancel();
  await firedAfterMs(20);
  expect(fired).toBe(false);
});
