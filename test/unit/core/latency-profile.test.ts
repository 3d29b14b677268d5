import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../core/clock.js';
import { makeMonotone } from '../../../core/isotonic.js';
import { LatencyProfile } from '../../../core/latency-profile.js';
import { seededRandom } from '../../../core/random.js';

const line = (rows: number): number => 5 + 0.3 * rows;

function learned(sizes: readonly number[], ms: (rows: number) => number, times = 9): LatencyProfile {
  const profile = new LatencyProfile();
  for (let i = 0; i < times; i++) for (const rows of sizes) profile.observe(rows, ms(rows));
  return profile;
}

const observations = fc.array(
  fc.record({ rows: fc.integer({ min: 1, max: 5000 }), ms: fc.double({ min: 0.001, max: 1e6, noNaN: true }) }),
  { maxLength: 300 },
);

describe('latency profile', () => {
  it('knows nothing before the first execution, and half of it is a guess after one size', () => {
    const profile = new LatencyProfile();
    expect(profile.typicalMs(8)).toBe(0);
    expect(profile.highMs(8)).toBe(0);
    expect(profile.knownRows).toBe(0);
    expect(profile.points()).toEqual([]);
    profile.observe(10, 4);
    expect(profile.typicalMs(10)).toBe(4);
    expect(profile.typicalMs(5)).toBe(3);
    expect(profile.typicalMs(20)).toBe(6);
    expect(profile.knownRows).toBe(10);
  });

  it('is exact for a line, between the sizes it has seen and beyond them', () => {
    const profile = learned([2, 4, 6, 20, 64], line);
    for (const rows of [1, 2, 3, 5, 12, 33, 64, 200]) expect(profile.typicalMs(rows)).toBeCloseTo(line(rows), 9);
    expect(profile.points()).toEqual([2, 4, 6, 20, 64].map((rows) => ({ rows, ms: line(rows) })));
  });

  it('never goes below nothing for sizes smaller than the smallest', () => {
    const profile = learned([4, 8], (rows) => (rows === 4 ? 1 : 9));
    expect(profile.typicalMs(1)).toBe(0);
    expect(profile.typicalMs(4)).toBe(1);
  });

  it('is non-decreasing and its high line above its typical one, whatever was observed', () => {
    fc.assert(
      fc.property(observations, observations, (own, foreign) => {
        const profile = new LatencyProfile();
        profile.seed(foreign);
        for (const { rows, ms } of own) profile.observe(rows, ms);
        let before = 0;
        let highBefore = 0;
        for (let rows = 1; rows < 7000; rows += 1 + (rows >> 4)) {
          const typical = profile.typicalMs(rows);
          const high = profile.highMs(rows);
          const rounding = 1e-9 * typical;
          if (!(typical >= before - rounding && high >= highBefore - 1e-9 * high && high >= typical)) return false;
          before = typical;
          highBefore = high;
        }
        const points = profile.points();
        return points.every(({ rows, ms }, i) => {
          const next = points[i + 1];
          return Math.abs(profile.typicalMs(rows) - ms) <= 1e-9 * ms && (next === undefined || next.rows > rows);
        });
      }),
      { numRuns: 200 },
    );
  });

  it('pools like the slow oracle: no non-decreasing sequence is nearer', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ value: fc.integer({ min: 0, max: 20 }), weight: fc.integer({ min: 1, max: 9 }) }), {
          minLength: 1,
          maxLength: 12,
        }),
        (given) => {
          const values = Float64Array.from(given, ({ value }) => value);
          makeMonotone(
            values,
            Float64Array.from(given, ({ weight }) => weight),
            given.length,
          );
          // Min-max formula of isotonic regression: max over starts of min over ends of the mean of what lies between.
          for (let i = 0; i < given.length; i++) {
            let largest = Number.NEGATIVE_INFINITY;
            for (let from = 0; from <= i; from++) {
              let least = Number.POSITIVE_INFINITY;
              for (let to = i; to < given.length; to++) {
                const part = given.slice(from, to + 1);
                const weight = part.reduce((sum, entry) => sum + entry.weight, 0);
                least = Math.min(least, part.reduce((sum, entry) => sum + entry.value * entry.weight, 0) / weight);
              }
              largest = Math.max(largest, least);
            }
            if (Math.abs((values[i] ?? Number.NaN) - largest) > 1e-9) return false;
          }
          return true;
        },
      ),
    );
  });

  it('is moved by no single stall, nor by four of nine', () => {
    const profile = learned([1, 8, 64], line);
    for (const rows of [1, 8, 64]) profile.observe(rows, 100 * line(rows));
    for (const rows of [1, 8, 64]) {
      expect(profile.typicalMs(rows)).toBeCloseTo(line(rows), 9);
      expect(profile.highMs(rows)).toBeCloseTo(line(rows), 9);
    }
    for (let i = 0; i < 3; i++) profile.observe(8, 500);
    expect(profile.typicalMs(8)).toBeCloseTo(line(8), 9);
  });

  it('needs two executions to believe that a new size is slower than expected, and one that it is faster', () => {
    const profile = learned([1, 8], line);
    profile.observe(32, 100 * line(32));
    expect(profile.typicalMs(32)).toBeCloseTo(line(32), 9);
    expect(profile.typicalMs(8)).toBeCloseTo(line(8), 9);
    profile.observe(32, 3 * line(32));
    expect(profile.typicalMs(32)).toBeCloseTo(3 * line(32), 9);
    expect(profile.typicalMs(128)).toBeGreaterThan(10 * line(32));
    profile.observe(128, 3.5 * line(32));
    expect(profile.typicalMs(128)).toBeCloseTo(3.5 * line(32), 9);
  });

  it('does not believe a cold first run once there is a second', () => {
    const profile = new LatencyProfile();
    profile.observe(4, 900);
    profile.observe(4, 3);
    expect(profile.typicalMs(4)).toBe(3);
    expect(profile.highMs(4)).toBe(3);
  });

  it('tells a high time apart from a typical one', () => {
    const profile = new LatencyProfile();
    for (let i = 0; i < 90; i++) profile.observe(4, i % 4 === 0 ? 9 : 3);
    expect(profile.typicalMs(4)).toBe(3);
    expect(profile.highMs(4)).toBe(9);
  });

  it('follows a lasting shift, up or down, after five executions', () => {
    for (const after of [0.25, 4]) {
      const profile = learned([8], line);
      for (let i = 0; i < 5; i++) profile.observe(8, after * line(8));
      expect(profile.typicalMs(8)).toBeCloseTo(after * line(8), 9);
    }
  });

  it('lets sizes that are not tried any more move with those that are', () => {
    const profile = learned([1, 8, 64], line);
    for (let i = 0; i < 100; i++) profile.observe(8, line(8));
    expect(profile.typicalMs(64)).toBeCloseTo(line(64), 9);
    for (let i = 0; i < 100; i++) profile.observe(8, 2 * line(8));
    expect(profile.typicalMs(1)).toBeCloseTo(2 * line(1), 9);
    expect(profile.typicalMs(64)).toBeCloseTo(2 * line(64), 9);
    expect(profile.highMs(64)).toBeCloseTo(2 * line(64), 9);
    // And back: nothing is left of it.
    for (let i = 0; i < 100; i++) profile.observe(8, line(8));
    expect(profile.typicalMs(64)).toBeCloseTo(line(64), 9);
    // Tried again, a size speaks for itself; what was remembered of it counts in today's level.
    for (let i = 0; i < 100; i++) profile.observe(8, 2 * line(8));
    profile.observe(64, 2.1 * line(64));
    expect(profile.typicalMs(64)).toBeCloseTo(2 * line(64), 9);
  });

  it('does not creep while it serves under noise for long', () => {
    const random = seededRandom(7);
    const profile = learned([1, 2, 4, 8, 16, 32, 64], line);
    for (let i = 0; i < 50_000; i++) {
      const rows = 1 + random.int(10);
      profile.observe(rows, line(rows) * (0.9 + 0.2 * random.next()));
    }
    for (const rows of [1, 10, 32, 64]) {
      expect(profile.typicalMs(rows) / line(rows)).toBeGreaterThan(0.85);
      expect(profile.typicalMs(rows) / line(rows)).toBeLessThan(1.15);
    }
  });

  it('starts from another profile, and trusts its own executions more', () => {
    const seed = learned([1, 8, 64], line).points();
    const profile = new LatencyProfile();
    profile.seed(seed);
    expect(profile.points()).toEqual(seed);
    expect(profile.knownRows).toBe(64);
    profile.observe(8, 2);
    profile.observe(8, 2);
    expect(profile.typicalMs(8)).toBeCloseTo(2, 2);
    profile.seed(seed);
    expect(profile.typicalMs(8)).toBeCloseTo(2, 2);
    // A later seed replaces an earlier one.
    profile.seed([{ rows: 64, ms: 12 }]);
    expect(profile.typicalMs(64)).toBeCloseTo(12, 9);
  });

  it('does not believe for ever that a size it no longer sees takes longer than its parts', () => {
    const profile = new LatencyProfile();
    for (let i = 0; i < 9; i++) profile.observe(64, 105);
    for (let i = 0; i < 9; i++) profile.observe(32, 33);
    expect(profile.typicalMs(64)).toBe(105);
    for (let i = 0; i < 64; i++) profile.observe(32, 33);
    expect(profile.typicalMs(64)).toBeCloseTo(66, 9);
    // As soon as it is seen again, it is believed again.
    for (let i = 0; i < 9; i++) profile.observe(64, 105);
    expect(profile.typicalMs(64)).toBe(105);
  });

  it('takes the shape of a seed from a slower machine, and the level of its own', () => {
    const profile = new LatencyProfile();
    profile.seed(learned([1, 8, 64], (rows) => 3 * line(rows)).points());
    for (let i = 0; i < 4; i++) profile.observe(8, line(8));
    expect(profile.typicalMs(64)).toBeCloseTo(line(64), 9);
    expect(profile.typicalMs(1)).toBeCloseTo(line(1), 9);
  });

  it('leaves out what cannot be an execution', () => {
    const profile = new LatencyProfile();
    for (const ms of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) profile.observe(4, ms);
    profile.observe(0, 3);
    profile.observe(Number.NaN, 3);
    profile.seed([{ rows: 4, ms: Number.NaN }]);
    expect(profile.points()).toEqual([]);
  });

  it('costs about a microsecond an execution, its use included', () => {
    const random = seededRandom(3);
    const profile = new LatencyProfile();
    const sizes = Array.from({ length: 4096 }, () => 1 + random.int(2000));
    const times = sizes.map((rows) => line(rows) * (0.8 + 0.4 * random.next()));
    let sum = 0;
    const run = (count: number): number => {
      const startMs = systemClock.nowMs();
      for (let i = 0; i < count; i++) {
        profile.observe(sizes[i & 4095] ?? 1, times[i & 4095] ?? 1);
        sum += profile.typicalMs(sizes[(i + 7) & 4095] ?? 1);
      }
      return ((systemClock.nowMs() - startMs) * 1000) / count;
    };
    run(50_000);
    // The least of several: this machine has other things to do. Generous, for slow ones.
    const microseconds = Math.min(...Array.from({ length: 10 }, () => run(10_000)));
    expect(sum).toBeGreaterThan(0);
    expect(microseconds).toBeLessThan(5);
  });
});
