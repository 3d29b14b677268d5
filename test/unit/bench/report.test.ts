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

/** A run of one second with `answers` good answers of 4 ms each. */
function result(answers: number, errors = 0): LoadResult {
  const recorder = new Recorder(0, 1000);
  for (let i = 0; i < answers; i++) recorder.answered(1, 5);
  for (let i = 0; i < errors; i++) recorder.failed(1, 'UNAVAILABLE', 'No worker is connected');
  return {
    seen: recorder.snapshot(),
    processes: 1,
    cpuUs: answers * 50,
    loopUtilisation: 0.5,
    cpuUtilisation: 0.5,
    serverCpuUs: { server: answers * 80 },
  };
}

function sample(batch: number, rowsPerS: number): CeilingSample {
  const call = new LatencyHistogram();
  call.record(2);
  return { batch, rowsPerS, call: call.snapshot() };
}

const context = { load, pacing: 'spin', rows: 2, deadlineMs: undefined } as const;
const ceiling = combineCeiling({ modelFile: 'm.onnx', intraOpThreads: 1 }, [
  sample(1, 100),
  sample(8, 900),
  sample(1, 120),
  sample(8, 1100),
]);
const runs = [200, 100, 300].map((answers) => summariseRun(result(answers), context));
const point = withFraction(summarisePoint(load, runs), ceiling);

const report: BenchReport = {
  tool: 'shoal bench',
  formatVersion: 1,
  model: 'm',
  version: '',
  server: 'localhost:8001',
  rowsPerRequest: 2,
  requestBytes: 1234,
  runs: 3,
  durationMs: 1000,
  warmupMs: 0,
  deadlineMs: undefined,
  processes: 1,
  client: 'http2',
  connections: 1,
  metadata: [],
  callers: [],
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
    const mixed = summarisePoint(load, [...runs, summariseRun(result(200, 2), context)]);
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
