import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type HistogramSnapshot, LatencyHistogram } from '../../../bench/latency-histogram.js';
import { batchRowsOf, mergeSnapshots, Recorder } from '../../../bench/recorder.js';
import { median, spread } from '../../../bench/spread.js';

const nearestRank = (values: readonly number[], percentile: number): number =>
  values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil((percentile / 100) * values.length) - 1)] ?? 0;

const latencies = fc.array(fc.double({ min: 0.001, max: 60_000, noNaN: true }), { minLength: 1, maxLength: 300 });

describe('latency histogram', () => {
  test('percentiles agree with sorting, to three significant digits', () => {
    fc.assert(
      fc.property(latencies, (values) => {
        const histogram = new LatencyHistogram();
        for (const value of values) histogram.record(value);
        const summary = histogram.summary();
        for (const [column, percentile] of [
          ['p50', 50],
          ['p90', 90],
          ['p95', 95],
          ['p99', 99],
          ['p999', 99.9],
        ] as const) {
          const exactUs = nearestRank(values, percentile) * 1000;
          expect(Math.abs(summary[column] - exactUs)).toBeLessThanOrEqual(exactUs * 0.001 + 0.1);
        }
        expect(summary.max).toBe(Math.max(...values) * 1000);
        expect(summary.mean).toBeCloseTo((values.reduce((sum, v) => sum + v, 0) / values.length) * 1000, 3);
        expect(summary.count).toBe(values.length);
      }),
      { seed: 1 },
    );
  });

  test('merged halves are the whole', () => {
    fc.assert(
      fc.property(latencies, latencies, (left, right) => {
        const [a, b, whole, merged] = [0, 1, 2, 3].map(() => new LatencyHistogram());
        for (const value of left) a?.record(value);
        for (const value of right) b?.record(value);
        for (const value of [...left, ...right]) whole?.record(value);
        for (const part of [a, b]) if (part !== undefined) merged?.merge(part.snapshot());
        const { mean, ...rest } = whole?.summary() ?? { mean: 0 };
        expect(merged?.summary()).toMatchObject(rest);
        expect(merged?.summary().mean).toBeCloseTo(mean, 3);
      }),
      { seed: 2, numRuns: 30 },
    );
  });

  test('nothing recorded is zero everywhere, and what cannot be is brought within bounds', () => {
    const histogram = new LatencyHistogram();
    expect(histogram.summary()).toEqual({ count: 0, mean: 0, p50: 0, p90: 0, p95: 0, p99: 0, p999: 0, max: 0 });
    histogram.record(-1);
    histogram.record(1e12);
    expect(histogram.summary().max).toBe(3_600_000_000);
  });
});

describe('recorder', () => {
  test('counts requests by when they were due, throughput by when they were answered', () => {
    const recorder = new Recorder(100, 200, 50);
    recorder.answered(90, 110); // due in the warm-up, answered in the window
    recorder.answered(100, 199); // too late for its deadline
    recorder.answered(150, 190);
    recorder.answered(199, 230); // answered after the window
    recorder.answered(200, 240); // due after the window
    const seen = recorder.snapshot();
    expect(seen).toMatchObject({ windowMs: 100, sent: 3, good: 3, answeredInWindow: 3, inDeadlineInWindow: 2 });
  });

  test('keeps the first message of each code, and only of requests in the window', () => {
    const recorder = new Recorder(100, 200);
    recorder.failed(50, 55, 'UNAVAILABLE', 'too early');
    recorder.failed(120, 125, 'UNAVAILABLE', 'first');
    recorder.failed(130, 135, 'UNAVAILABLE', 'second');
    recorder.failed(140, 145, 'INTERNAL', 'other');
    const { errors, sent, good } = recorder.snapshot();
    expect(errors).toMatchObject({ UNAVAILABLE: { count: 2, first: 'first' }, INTERNAL: { count: 1, first: 'other' } });
    expect([sent, good]).toEqual([3, 0]);
  });

  test('closing early shortens the window and never lengthens it', () => {
    const recorder = new Recorder(100, 200);
    recorder.closeAt(150);
    recorder.closeAt(170);
    recorder.answered(140, 160);
    expect(recorder.snapshot()).toMatchObject({ windowMs: 50, sent: 1, answeredInWindow: 0 });
    const never = new Recorder(100, 200);
    never.closeAt(20);
    expect(never.snapshot().windowMs).toBe(0);
  });

  test('tells refusals from what expired, and both from faults, each with how long it took', () => {
    const recorder = new Recorder(0, 1000, 100);
    recorder.answered(10, 60);
    recorder.answered(10, 120); // late
    recorder.failed(20, 24, 'RESOURCE_EXHAUSTED', 'full');
    recorder.failed(30, 32, 'DEADLINE_EXCEEDED', 'would not fit');
    recorder.failed(40, 140, 'DEADLINE_EXCEEDED', 'expired');
    recorder.failed(50, 51, 'INTERNAL', 'bug');
    const merged = mergeSnapshots([recorder.snapshot(), recorder.snapshot()]);
    expect(merged).toMatchObject({ sent: 12, good: 4, inTime: 2, refused: 4 });
    const of = (snapshot: HistogramSnapshot | undefined) => {
      const histogram = new LatencyHistogram();
      if (snapshot !== undefined) histogram.merge(snapshot);
      return histogram.summary();
    };
    expect(of(merged.refusalLatency)).toMatchObject({ count: 4, mean: 3000, max: 4000 });
    expect(of(merged.errors.DEADLINE_EXCEEDED?.latency)).toMatchObject({ count: 4, max: 100_000 });
  });

  test('learns the mean executed batch from receipts', () => {
    const recorder = new Recorder(0, 1000);
    // One batch of four rows and one of two, a request a row; one answer without a receipt.
    for (const rows of [4, 4, 4, 4, 2, 2]) {
      recorder.answered(1, 2, batchRowsOf(`queue=12;input=3;execute=840;output=2;rows=${rows};worker=w1`));
    }
    recorder.answered(1, 2, batchRowsOf(undefined));
    recorder.answered(1, 2, batchRowsOf('worker=w1'));
    recorder.answered(1, 2, batchRowsOf('queue=1;padded_rows=3;rows=;x'));
    expect(batchRowsOf('rows=12')).toBe(12);
    const { receipts, batches } = recorder.snapshot();
    expect([receipts, batches]).toEqual([6, 2]);
  });

  test('merging adds everything up and keeps first messages', () => {
    const [a, b] = [new Recorder(0, 100), new Recorder(0, 100)];
    a.answered(1, 2);
    a.failed(3, 8, 'INTERNAL', 'from a');
    a.heldBack(4);
    a.sendLag(5, 6);
    b.answered(1, 4);
    b.failed(3, 8, 'INTERNAL', 'from b');
    b.failed(3, 8, 'CANCELLED', 'only b');
    const merged = mergeSnapshots([a.snapshot(), b.snapshot()]);
    expect(merged).toMatchObject({ windowMs: 100, sent: 5, good: 2, answeredInWindow: 2, heldBack: 1 });
    expect(merged.errors).toMatchObject({
      INTERNAL: { count: 2, first: 'from a' },
      CANCELLED: { count: 1, first: 'only b' },
    });
    const latency = new LatencyHistogram();
    latency.merge(merged.latency);
    expect(latency.summary()).toMatchObject({ count: 2, mean: 2000, max: 3000 });
  });
});

test('medians of odd and even numbers of runs, with their range', () => {
  expect(spread([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([10, 9, 100])).toBe(10);
});
