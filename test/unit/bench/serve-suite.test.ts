import { describe, expect, test } from 'vitest';
import { combineCeiling } from '../../../bench/ceiling.js';
import { LatencyHistogram } from '../../../bench/latency-histogram.js';
import { summarisePoint } from '../../../bench/point.js';
import { thisMachine } from '../../../bench/report.js';
import { spread } from '../../../bench/spread.js';
import { parseExternal } from '../../../bench/suites/external-load.js';
import { parseBusyUs } from '../../../bench/suites/quiet-machine.js';
import { complaints, type ServeResult, serveMarkdown } from '../../../bench/suites/serve-report.js';

test('work of all cores is user, nice, system and interrupts, not waiting', () => {
  expect(parseBusyUs('cpu  100 10 50 99999 77777 5 6 88888 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n')).toBe(1_710_000);
});

const line = {
  tool: 'someload',
  sent: 1000,
  ok: 990,
  errors: { UNAVAILABLE: 10 },
  first_error: 'gone',
  verify_failed: 0,
  unfinished: 0,
  throughput: 200,
  duration_s: 5,
  latency_us: { mean: 10, p50: 9, p90: 11, p95: 12, p99: 13, 'p99.9': 14, max: 15 },
  client_cpu_us_per_request: 11,
};

describe("somebody else's load generator", () => {
  test('is read with its errors', () => {
    expect(parseExternal(JSON.stringify(line))).toMatchObject({
      good: 990,
      throughputPerS: 200,
      latencyUs: { p50: 9, p999: 14 },
      errors: { UNAVAILABLE: { count: 10, first: 'gone' } },
      verdict: { valid: false, reasons: ['10 requests ended in UNAVAILABLE: gone.'] },
    });
    expect(parseExternal(JSON.stringify({ ...line, errors: {} })).verdict.valid).toBe(true);
  });

  test.each(['', 'cannot connect', '{"sent": 1}'])('printing %j is an error', (output) => {
    expect(() => parseExternal(output)).toThrow(/printed no result/);
  });
});

describe('the tables', () => {
  const call = new LatencyHistogram();
  call.record(0.4);
  const sample = (batch: number, rowsPerS: number) => ({ batch, rowsPerS, call: call.snapshot() });
  const ceiling = combineCeiling({ modelFile: 'big', intraOpThreads: 1 }, [sample(1, 300), sample(64, 2500)]);
  const run = {
    ...parseExternal(JSON.stringify(line)),
    serverCpuUsPerRequest: { shoal: 45, 'shoal/shoal-executor': 400 },
  };
  const result: ServeResult = {
    machine: thisMachine(),
    ceilings: ceiling === undefined ? {} : { big: ceiling },
    points: [1, 64].map((concurrency) => ({
      model: 'big',
      concurrency,
      summary: summarisePoint({ name: '', load: { kind: 'closed', concurrency }, deadlineMs: undefined, callers: [] }, [
        run,
      ]),
      meanBatch: spread([60]),
      disturbed: concurrency === 1 ? 0 : 2,
    })),
  };

  test('give the ceiling, the share of it, CPU by process, the mean batch and added latency', () => {
    const markdown = serveMarkdown(result);
    expect(markdown).toContain('| big | 64 | 2,500 | 0.4 | 0.4 |');
    expect(markdown).toContain(
      '| big | 64 | 200 | 8.0 % | 60 | 0.009 | 0.013 | 45 | 400 | 11 | INVALID, 2 disturbed |',
    );
    expect(markdown).toContain('| big | 0.009 | 0.4 | -0.391 | 0.013 | 0.4 | -0.387 |');
    expect(markdown).toContain('shoal/shoal-executor CPU µs');
  });

  test('say why a point is not to be believed', () => {
    expect(complaints(result)).toContain('big at 64: Run 1: 10 requests ended in UNAVAILABLE: gone.\n');
  });
});
