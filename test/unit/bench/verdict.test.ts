import { describe, expect, test } from 'vitest';
import type { LatencySummary } from '../../../bench/latency-histogram.js';
import { type Evidence, judge } from '../../../bench/verdict.js';

const latency = (p99: number): LatencySummary => ({
  count: 1000,
  mean: p99 / 2,
  p50: p99 / 2,
  p90: p99,
  p95: p99,
  p99,
  p999: p99,
  max: p99,
});

const good: Evidence = {
  spins: false,
  hasDeadline: false,
  good: 1000,
  errors: {},
  latencyUs: latency(5000),
  sendLagUs: latency(0),
  loopUtilisation: 0.5,
  cpuUtilisation: 0.4,
  stallMs: 240,
  windowMs: 1000,
};
test('a clean run is valid', () => {
  expect(judge(good)).toEqual({ valid: true, reasons: [] });
});

describe('invalid:', () => {
  test.each<[string, Partial<Evidence>, RegExp]>([
    [
      'errors',
      { errors: { UNAVAILABLE: { count: 3, first: 'No worker' } } },
      /3 requests ended in UNAVAILABLE: No worker/,
    ],
    ['too few samples', { good: 99 }, /Only 99 good answers/],
    ['a busy event loop', { loopUtilisation: 0.91 }, /The harness is the wall.*91\.0 %.*--processes/],
    ['a busy core', { cpuUtilisation: 0.95 }, /The harness is the wall/],
    ['a stall', { stallMs: 260 }, /stood still for 260 ms.*--cpus/],
    ['a stall in a long window', { stallMs: 510, windowMs: 10_000 }, /stood still for 510 ms/],
    ['late sending', { spins: true, sendLagUs: latency(2500) }, /sent late, by 2\.5 ms.*2 ms is allowed/],
    [
      'a deadline does not excuse faults',
      { hasDeadline: true, errors: { INTERNAL: { count: 1, first: '' } } },
      /INTERNAL: no message/,
    ],
    ['a busy loop with timer pacing', { loopUtilisation: 0.99 }, /The harness is the wall/],
  ])('%s', (_what, changes, words) => {
    const verdict = judge({ ...good, ...changes });
    expect(verdict.valid).toBe(false);
    expect(verdict.reasons.join('\n')).toMatch(words);
  });
});

describe('still valid:', () => {
  test.each<[string, Partial<Evidence>]>([
    ['a stall that is short beside the window', { stallMs: 490, windowMs: 10_000 }],
    ['a spinning open loop uses its core on purpose', { spins: true, loopUtilisation: 1, cpuUtilisation: 1 }],
    ['lag that is small beside the latency', { spins: true, sendLagUs: latency(9000), latencyUs: latency(100_000) }],
    [
      'a server that sheds load under a deadline',
      { hasDeadline: true, errors: { DEADLINE_EXCEEDED: { count: 9, first: '' } } },
    ],
  ])('%s', (_what, changes) => expect(judge({ ...good, ...changes }).valid).toBe(true));
});
