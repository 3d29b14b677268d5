import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { waitForFaster } from '../../../loadbalancer/wait-for-faster.js';

const never = Number.POSITIVE_INFINITY;
const fast = (freeAtMs: number) => ({ speed: 1, freeAtMs, batchMs: 10 });
const slow = (doneMs: number) => ({ speed: 4, doneMs });

describe('waiting for a faster worker', () => {
  it('waits until one is free when it would be done sooner', () => {
    expect(waitForFaster(slow(140), [fast(112)], 1, never, 100)).toBe(112);
    expect(waitForFaster(slow(140), [fast(130)], 1, never, 100)).toBe(100);
    expect(waitForFaster(slow(140), [fast(112)], 3, never, 100)).toBe(100);
    expect(waitForFaster(slow(140), [fast(112), fast(115)], 3, never, 100)).toBe(112);
  });

  it('does not wait for one that is not much faster', () => {
    expect(waitForFaster({ speed: 1.2, doneMs: 200 }, [fast(101)], 1, never, 100)).toBe(100);
    expect(waitForFaster(slow(200), [], 1, never, 100)).toBe(100);
  });

  it('uses everybody when the queue is long, whatever is believed of them', () => {
    expect(waitForFaster(slow(1e6), [fast(101)], 9, never, 100)).toBe(100);
  });

  it('gives up a stalled one in the end', () => {
    let nowMs = 100;
    // It should have been free at 90; the slow one would always take 40 ms from now.
    while (nowMs < 1000) {
      const laterMs = waitForFaster(slow(nowMs + 40), [fast(90)], 1, never, nowMs);
      if (laterMs === nowMs) break;
      expect(laterMs).toBeGreaterThan(nowMs);
      nowMs = laterMs;
    }
    expect(nowMs).toBeLessThan(200);
  });

  it('decides as trying every way to spread the batches would', () => {
    const worker = fc.record({
      speed: fc.constantFrom(1, 2, 3.5),
      freeAtMs: fc.integer({ min: 100, max: 150 }),
      batchMs: fc.integer({ min: 1, max: 30 }),
    });
    fc.assert(
      fc.property(
        fc.array(worker, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 101, max: 300 }),
        (workers, batches, doneMs) => {
          const faster = workers.filter(({ speed }) => speed * 1.25 <= 4);
          const waits = waitForFaster({ speed: 4, doneMs }, workers, batches, never, 100) > 100;
          expect(waits).toBe(faster.length > 0 && leastLastDone(faster, batches) < doneMs);
        },
      ),
      { numRuns: 500 },
    );
  });
});

interface Server {
  readonly freeAtMs: number;
  readonly batchMs: number;
}

/** The best over all ways to spread the batches. */
function leastLastDone(servers: readonly Server[], batches: number, counts: readonly number[] = []): number {
  const placed = counts.reduce((sum, count) => sum + count, 0);
  if (counts.length === servers.length) {
    if (placed < batches) return Number.POSITIVE_INFINITY;
    const done = servers.map(({ freeAtMs, batchMs }, i) =>
      (counts[i] ?? 0) > 0 ? freeAtMs + (counts[i] ?? 0) * batchMs : 0,
    );
    return Math.max(...done);
  }
  const ways = Array.from({ length: batches - placed + 1 }, (_, count) =>
    leastLastDone(servers, batches, [...counts, count]),
  );
  return Math.min(...ways);
}
