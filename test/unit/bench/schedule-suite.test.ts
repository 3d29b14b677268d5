import { describe, expect, test } from 'vitest';
import { type RunSummary, summariseRun } from '../../../bench/point.js';
import { Recorder } from '../../../bench/recorder.js';
import { thisMachine } from '../../../bench/report.js';
import { judged, percentileText, reasonsText, told } from '../../../bench/suites/bars/bar.js';
import { admittedInTime, failedShare, p99OfAllUs, waitedInVain } from '../../../bench/suites/bars/outcomes.js';
import { doubtsText, scheduleMarkdown } from '../../../bench/suites/schedule-report.js';
import { batchChange, Scrape } from '../../../bench/suites/scrape.js';

const before = new Scrape(`# HELP nv_inference_count Rows
# TYPE nv_inference_count counter
nv_inference_count{model="big",version="1"} 640
nv_inference_count{model="big",version="2"} 60
nv_inference_count{model="bigger",version="1"} 9999
nv_inference_exec_count{model="big",version="1"} 10
nv_inference_exec_count{version="2",model="big"} 4
nv_inference_request_success{model="big",version="1"} 1e6
shoal_batches_total{model="big",version="1",reason="full"} 8
shoal_batches_total{model="big",version="1",reason="idle"} 6
shoal_workers 2
`);
const after = new Scrape(`nv_inference_count{model="big",version="1"} 1280
nv_inference_count{model="big",version="2"} 60
nv_inference_exec_count{model="big",version="1"} 26
nv_inference_exec_count{version="2",model="big"} 4
shoal_batches_total{model="big",version="1",reason="full"} 11
shoal_batches_total{model="big",version="1",reason="idle"} 6
shoal_batches_total{model="big",version="1",reason="delay"} 12
shoal_batches_total{model="other",version="1",reason="drain"} 99
shoal_odd{text="a \\"b\\", c=\\"d\\" \\\\ \\n"} 3
`);

describe('scrapes', () => {
  test('sum over versions of one model only, and tell nothing from none', () => {
    expect(before.sum('nv_inference_count', { model: 'big' })).toBe(700);
    expect(before.sum('nv_inference_count', { model: 'none' })).toBeUndefined();
    expect(before.sum('nv_inference_request_success')).toBe(1_000_000);
    expect(before.sum('shoal_workers')).toBe(2);
    expect([...after.by('text', 'shoal_odd').keys()]).toEqual(['a "b", c="d" \\ \n']);
  });

  test('two of them give the mean batch and why batches were closed', () => {
    expect(batchChange(before, after, 'big')).toEqual({
      rows: 640,
      batches: 16,
      meanRows: 40,
      reasons: [
        ['delay', 0.8],
        ['full', 0.2],
      ],
      expiredRows: undefined,
    });
    expect(batchChange(before, before, 'big').meanRows).toBeNaN();
  });

  test('rows executed after their deadline are counted where the server counts them', () => {
    const name = 'shoal_expired_rows_executed_total';
    const [none, three] = [0, 3].map((n) => new Scrape(`${name}{model="big",version="1"} ${n}`));
    expect(batchChange(none ?? before, none ?? before, 'big').expiredRows).toBe(0);
    expect(batchChange(none ?? before, three ?? before, 'big').expiredRows).toBe(3);
  });

  test('reasons of several runs are weighed by their batches', () => {
    const one = { rows: 0, meanRows: 0, expiredRows: undefined };
    expect(
      reasonsText([
        { ...one, batches: 90, reasons: [['full', 1]] },
        {
          ...one,
          batches: 10,
          reasons: [
            ['idle', 0.5],
            ['full', 0.5],
          ],
        },
      ]),
    ).toBe('full 95 %, idle 5 %');
  });
});

describe('bars', () => {
  const text = (value: number): string => value.toFixed(2);

  test('pass at their limit, miss beyond it, and are neither when there is nothing to judge', () => {
    expect(judged('a', 0.95, { atLeast: 0.95 }, text)).toMatchObject({ verdict: 'PASS', wanted: '≥ 0.95' });
    expect(judged('a', 0.94, { atLeast: 0.95 }, text).verdict).toBe('MISS');
    expect(judged('a', 1.3, { atMost: 1.3 }, text)).toMatchObject({ verdict: 'PASS', wanted: '≤ 1.30' });
    expect(judged('a', Number.POSITIVE_INFINITY, { atMost: 1.3 }, text).verdict).toBe('MISS');
    expect(judged('a', Number.NaN, { atMost: 1.3 }, text)).toMatchObject({ verdict: '—', text: '—' });
  });

  test('count a request that failed as one that never came', () => {
    const recorder = new Recorder(0, 1000, 100);
    for (let i = 0; i < 100; i++) recorder.answered(1, 11);
    recorder.answered(1, 201);
    const summary = (): RunSummary =>
      summariseRun(
        {
          seen: recorder.snapshot(),
          processes: 1,
          cpuUs: 0,
          loopUtilisation: 0,
          cpuUtilisation: 0,
          stallMs: 0,
          serverCpuUs: {},
        },
        { spins: true, rows: 1, deadlineMs: 100 },
      );
    recorder.failed(1, 3, 'RESOURCE_EXHAUSTED', 'full');
    expect(p99OfAllUs(summary())).toBeCloseTo(10_000, -2);
    recorder.failed(1, 101, 'DEADLINE_EXCEEDED', 'expired');
    expect(p99OfAllUs(summary())).toBe(Number.POSITIVE_INFINITY);
    expect(percentileText(p99OfAllUs(summary()))).toBe('more than 1 % failed');
    expect(failedShare(summary())).toBeCloseTo(2 / 103, 9);
    // One late and one expired of 102 that were let in.
    expect(admittedInTime(summary())).toBeCloseTo(100 / 102, 9);
    expect(waitedInVain(summary())).toBeCloseTo(2 / 103, 9);
  });

  test('are a Markdown table, with their doubts apart', () => {
    const bars = [
      {
        bar: 'ceiling',
        judgements: [judged('share', 0.5, { atLeast: 0.85 }, text), told('rows/s', 1234, '1,234')],
        doubts: ['64 callers: The harness is the wall.'],
        disturbed: 2,
        runs: [],
      },
    ];
    const markdown = scheduleMarkdown({ machine: thisMachine(), repetitions: 3, durationMs: 10_000, bars });
    expect(markdown).toContain('Medians of 3 repetitions of 10 s each.');
    expect(markdown).toContain('| ceiling | share | 0.50 | ≥ 0.85 | **MISS** |');
    expect(markdown).toContain('| ceiling | rows/s | 1,234 |  |  |');
    expect(doubtsText({ bars })).toBe(
      'ceiling, 64 callers: The harness is the wall.\n' +
        'ceiling: others used the machine during 2 of its measurements.\n',
    );
  });
});
