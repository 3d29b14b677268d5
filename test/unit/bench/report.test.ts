import { describe, expect, test } from 'vitest';
import { combineCeiling } from '../../../bench/ceiling.js';
import type { CeilingSample } from '../../../bench/ceiling-messages.js';
import { LatencyHistogram } from '../../../bench/latency-histogram.js';
import type { LoadResult } from '../../../bench/load-fleet.js';
import { countText, msText } from '../../../bench/number-text.js';
import { summarisePoint, summariseRun } from '../../../bench/point.js';
import { Recorder } from '../../../bench/recorder.js';
import { type BenchReport, reportText, thisMachine, withFraction } from '../../../bench/report.js';

const load = { kind: 'closed', concurrency: 8 } as const;
const group = { name: '', load, deadlineMs: undefined, callers: [] } as const;

/** A run of one second with `answers` good answers of 4 ms each. */
function result(answers: number, errors = 0): LoadResult {
  const recorder = new Recorder(0, 1000);
  for (let i = 0; i < answers; i++) recorder.answered(1, 5);
  for (let i = 0; i < errors; i++) recorder.failed(1, 3, 'UNAVAILABLE', 'No worker is connected');
  return {
    seen: recorder.snapshot(),
    processes: 1,
    cpuUs: answers * 50,
    loopUtilisation: 0.5,
    cpuUtilisation: 0.5,
    stallMs: 0,
    serverCpuUs: { server: answers * 80 },
  };
}

function sample(batch: number, rowsPerS: number): CeilingSample {
  const call = new LatencyHistogram();
  call.record(2);
  return { batch, rowsPerS, call: call.snapshot() };
}

const context = { spins: false, rows: 2, deadlineMs: undefined } as const;
const ceiling = combineCeiling({ modelFile: 'm.onnx', intraOpThreads: 1 }, [
  sample(1, 100),
  sample(8, 900),
  sample(1, 120),
  sample(8, 1100),
]);
const runs = [200, 100, 300].map((answers) => summariseRun(result(answers), context));
const point = withFraction(summarisePoint(group, runs), ceiling);

const report: BenchReport = {
  tool: 'shoal bench',
  formatVersion: 2,
  model: 'm',
  version: '',
  server: 'localhost:8001',
  shapes: [[{ name: 'x', shape: [2, 4] }]],
  rowsPerRequest: 2,
  requestBytes: 1234,
  runs: 3,
  durationMs: 1000,
  warmupMs: 0,
  processes: 1,
  client: 'http2',
  connections: 1,
  metadata: [],
  pacing: 'spin',
  seed: 1,
  machine: thisMachine(),
  points: [point],
  ceiling,
  stoppedEarly: false,
  verdict: 'VALID',
};

describe('points', () => {
  test('are medians over runs, with rows, CPU per request and the share of the ceiling', () => {
    expect(point.throughputPerS).toEqual({ median: 200, min: 100, max: 300 });
    expect(point.rowsPerS.median).toBe(400);
    expect(point.clientCpuUsPerRequest.median).toBe(50);
    expect(point.serverCpuUsPerRequest.server?.median).toBe(80);
    expect(point.latencyUs.p50.median).toBeCloseTo(4000, -1);
    expect(ceiling?.best).toMatchObject({ batch: 8, rowsPerS: { median: 1000, min: 900, max: 1100 } });
    expect(point.ceilingFraction).toBe(0.4);
    expect(point.verdict).toEqual({ valid: true, reasons: [] });
  });

  test('are invalid when one run is, and say which', () => {
    const mixed = summarisePoint(group, [...runs, summariseRun(result(200, 2), context)]);
    expect(mixed.verdict.valid).toBe(false);
    expect(mixed.verdict.reasons).toEqual(['Run 4: 2 requests ended in UNAVAILABLE: No worker is connected.']);
    expect(mixed.errors).toEqual({ UNAVAILABLE: { count: 2, first: 'No worker is connected' } });
  });

  test('nothing measured divides by nothing', () => {
    const recorder = new Recorder(0, 0);
    const empty = summariseRun({ ...result(0), seen: recorder.snapshot() }, context);
    expect([empty.throughputPerS, empty.clientCpuUsPerRequest]).toEqual([0, 0]);
    expect(empty.verdict.valid).toBe(false);
  });
});

test('the table says what was measured', () => {
  const text = reportText(report);
  expect(text).toMatch(/concurrency 8 .* 200 \(100–300\) .* 400 \(200–600\) .* 4 .* 40\.0 % .* VALID/);
  expect(text).toMatch(/8 .* 1,000 \(900–1,100\) .* best/);
  expect(text.trimEnd().endsWith('VALID')).toBe(true);
});

test('groups, deadlines, refusals and batches have their columns where there are any', () => {
  const recorder = new Recorder(0, 1000, 10);
  for (let i = 0; i < 150; i++) recorder.answered(1, 5, 8);
  for (let i = 0; i < 50; i++) recorder.failed(1, 3, 'RESOURCE_EXHAUSTED', 'full');
  const flood = { name: 'flood', load: { kind: 'open', ratePerS: 200 }, deadlineMs: 10, callers: ['a'] } as const;
  const run = summariseRun({ ...result(0), seen: recorder.snapshot() }, { spins: true, rows: 1, deadlineMs: 10 });
  const text = reportText({
    ...report,
    ceiling: undefined,
    points: [withFraction(summarisePoint(flood, [run]), undefined)],
  });
  expect(text).toMatch(/goodput\/s .* in time .* refused .* refusal p99 ms .* mean batch/);
  expect(text).toMatch(/flood, rate 200\/s .* 75\.0 % .* 25\.0 % .* 2 .* 8/);
  expect(text).toContain(
    'flood, rate 200/s: 50 × RESOURCE_EXHAUSTED (after p50 2, p99 2, at most 2 ms), the first: full',
  );
  expect(reportText(report)).not.toMatch(/refused|in time|mean batch/);
});

test('a share of more than the whole is explained', () => {
  const over = { ...report, points: [{ ...point, ceilingFraction: 1.35 }] };
  expect(reportText(over)).toMatch(/135\.0 %/);
  expect(reportText(over)).toMatch(/More than 100 % of the ceiling/);
  expect(reportText(report)).not.toMatch(/More than 100 %/);
});

test('JSON of the report is whole', () => {
  expect(JSON.parse(JSON.stringify(report))).toMatchObject({ points: [{ ceilingFraction: 0.4 }], verdict: 'VALID' });
});

test('numbers are short and without exponents', () => {
  expect([0, 1.234, 12.34, 123.4, 44_400.4].map(countText)).toEqual(['0', '1.23', '12.3', '123', '44,400']);
  expect([0, 99, 1450, 30_123, 12_345_678].map(msText)).toEqual(['0', '0.099', '1.45', '30.1', '12300']);
});
