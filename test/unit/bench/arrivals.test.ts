import { describe, expect, test } from 'vitest';
import { poissonArrivals } from '../../../bench/arrivals.js';
import { seededRandom } from '../../../core/random.js';

function gaps(ratePerS: number, seed: number, count: number): number[] {
  const arrivals = poissonArrivals(ratePerS, seededRandom(seed));
  let before = 0;
  return Array.from({ length: count }, () => {
    const at = arrivals.nextMs();
    const gap = at - before;
    before = at;
    return gap;
  });
}

const count = 20_000;

describe.each([1, 2, 3, 4, 5])('Poisson arrivals with seed %i', (seed) => {
  const ratePerS = 250;
  const meanMs = 1000 / ratePerS;
  const seen = gaps(ratePerS, seed, count);

  test('have the mean gap of their rate', () => {
    const mean = seen.reduce((sum, gap) => sum + gap, 0) / count;
    // The mean of n exponential gaps has a standard deviation of mean / √n; four of them.
    expect(Math.abs(mean - meanMs)).toBeLessThan((4 * meanMs) / Math.sqrt(count));
  });

  test('have exponential gaps (Kolmogorov–Smirnov, 1 % level)', () => {
    let distance = 0;
    seen
      .toSorted((a, b) => a - b)
      .forEach((gap, i) => {
        const expected = -Math.expm1(-gap / meanMs);
        distance = Math.max(distance, Math.abs((i + 1) / count - expected), Math.abs(i / count - expected));
      });
    expect(distance).toBeLessThan(1.63 / Math.sqrt(count));
  });

  test('are the same again from the same seed, and others from another', () => {
    expect(gaps(ratePerS, seed, 100)).toEqual(seen.slice(0, 100));
    expect(gaps(ratePerS, seed + 100, 100)).not.toEqual(seen.slice(0, 100));
  });
});

test('a constant gap fails the Kolmogorov–Smirnov bound, so the bound can fail', () => {
  const meanMs = 4;
  const distance = Math.abs(0 - -Math.expm1(-meanMs / meanMs));
  expect(distance).toBeGreaterThan(1.63 / Math.sqrt(count));
});
