import { describe, expect, test } from 'vitest';
import { batchSizes } from '../../../bench/ceiling.js';
import { parseDurationMs, parsePositiveDurationMs } from '../../../bench/duration.js';
import { parseGroups } from '../../../bench/groups.js';
import { processPlans } from '../../../bench/load-fleet.js';
import {
  oneOf,
  parseCount,
  parseCpus,
  parseInputFile,
  parseLoads,
  parseMetadata,
  parseShape,
  parseShapes,
} from '../../../bench/options.js';
import { type LoadJob, shares } from '../../../bench/plan.js';
import { parseCpuWatch, parseProcStat } from '../../../bench/process-cpu.js';

describe('durations', () => {
  test.each([
    ['10s', 10_000],
    ['500ms', 500],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
    ['250us', 0.25],
    ['3', 3000],
    [' 2s ', 2000],
    ['0', 0],
  ])('%s is %d ms', (text, ms) => expect(parseDurationMs('--duration', text)).toBe(ms));

  test.each(['', 's', '-1s', '1d', '1 0s', 'ten', '1e3s', 'NaN'])('%j is refused by name', (text) => {
    expect(() => parseDurationMs('--warmup', text)).toThrow(/--warmup wants a duration/);
  });

  test('nothing is not a window', () => {
    expect(() => parsePositiveDurationMs('--duration', '0s')).toThrow(/longer than nothing/);
  });
});

describe('loads', () => {
  test('closed, open, and one in flight by default', () => {
    expect(parseLoads('1,8,64', undefined)).toEqual([1, 8, 64].map((concurrency) => ({ kind: 'closed', concurrency })));
    expect(parseLoads(undefined, '0.5,100')).toEqual([0.5, 100].map((ratePerS) => ({ kind: 'open', ratePerS })));
    expect(parseLoads(undefined, undefined)).toEqual([{ kind: 'closed', concurrency: 1 }]);
  });

  test.each([
    ['0', undefined],
    ['1.5', undefined],
    ['1,', undefined],
    ['x', undefined],
    [undefined, '0'],
    [undefined, '-3'],
    ['1', '1'],
  ])('concurrency %s with rate %s is refused', (concurrency, rate) => {
    expect(() => parseLoads(concurrency, rate)).toThrow(expect.objectContaining({ code: 'BAD_SETTING' }));
  });

  test('are shared out without loss, and over no more processes than there are requests in flight', () => {
    const closed = shares({ kind: 'closed', concurrency: 10 }, 3);
    expect(closed.map((share) => (share.kind === 'closed' ? share.concurrency : 0))).toEqual([4, 3, 3]);
    expect(shares({ kind: 'closed', concurrency: 2 }, 8)).toHaveLength(2);
    expect(shares({ kind: 'open', ratePerS: 90 }, 3)).toEqual(Array(3).fill({ kind: 'open', ratePerS: 30 }));
  });
});

test('shapes and files are split from the names of their inputs', () => {
  expect(parseShape('x:1x3x224')).toEqual(['x', [[1, 3, 224]]]);
  expect(parseShape('scope:0:7')).toEqual(['scope:0', [[7]]]);
  expect(parseShape('scalar:')).toEqual(['scalar', [[]]]);
  expect(parseShape('x:4x256/5x256')).toEqual([
    'x',
    [
      [4, 256],
      [5, 256],
    ],
  ]);
  expect(() => parseShape('1x3')).toThrow(/--shape/);
  expect(() => parseShape('x:1xtwo')).toThrow(/--shape/);
  expect(parseInputFile('x:a:b.npy')).toEqual(['x', 'a:b.npy']);
  expect(() => parseInputFile('x:')).toThrow(/--input/);
});

test('shapes used in turn go together over all inputs', () => {
  expect(parseShapes([])).toEqual([new Map()]);
  expect(parseShapes(['ids:4/5', 'mask:4/5', 'flag:1'])).toEqual(
    [4, 5].map(
      (length) =>
        new Map([
          ['ids', [length]],
          ['mask', [length]],
          ['flag', [1]],
        ]),
    ),
  );
  expect(() => parseShapes(['ids:4/5', 'mask:1/2/3'])).toThrow(/"ids" 2 shapes and another 3/);
});

describe('groups', () => {
  const defaults = { deadlineMs: 100, callers: ['everybody'] };

  test('say their load, and may say their deadline and callers', () => {
    expect(
      parseGroups(['a,rate=100', 'b,concurrency=8,deadline-ms=50,caller=x', 'c,rate=1,callers=3'], defaults),
    ).toEqual([
      { name: 'a', load: { kind: 'open', ratePerS: 100 }, deadlineMs: 100, callers: ['everybody'] },
      { name: 'b', load: { kind: 'closed', concurrency: 8 }, deadlineMs: 50, callers: ['x'] },
      { name: 'c', load: { kind: 'open', ratePerS: 1 }, deadlineMs: 100, callers: ['c-1', 'c-2', 'c-3'] },
    ]);
    expect(parseGroups(['a,rate=1,caller=t,callers=2'], defaults)[0]?.callers).toEqual(['t-1', 't-2']);
  });

  test.each([
    [['a'], /either rate=… .* or concurrency=…/],
    [['a,rate=1,concurrency=1'], /either rate/],
    [['a,rate=1,rate=2'], /rate is there twice/],
    [['a,rate=1,speed=2'], /"speed=2" is none of rate=…/],
    [['a,rate'], /"rate" is none/],
    [['rate=1'], /begins with a name/],
    [['a,rate=0'], /rate of --group/],
    [['a,rate=1,caller=with space'], /--caller wants/],
    [['a,rate=1', 'a,rate=2'], /another has the same name/],
  ])('%j is refused', (texts, words) => {
    expect(() => parseGroups(texts, defaults)).toThrow(words);
  });

  test('are shared out among processes, each group for itself', () => {
    const base = { maxInFlight: 10, seed: 1 } as LoadJob;
    const plans = processPlans(
      [
        { ...base, load: { kind: 'closed', concurrency: 1 } },
        { ...base, load: { kind: 'open', ratePerS: 90 } },
      ],
      3,
    );
    expect(plans.map((jobs) => jobs.map((job) => job?.load))).toEqual([
      [
        { kind: 'closed', concurrency: 1 },
        { kind: 'open', ratePerS: 30 },
      ],
      [undefined, { kind: 'open', ratePerS: 30 }],
      [undefined, { kind: 'open', ratePerS: 30 }],
    ]);
    const seeds = plans.flatMap((jobs) => jobs.flatMap((job) => job?.seed ?? []));
    expect(new Set(seeds).size).toBe(4);
    expect(plans[0]?.[0]?.maxInFlight).toBe(10);
    expect(plans[1]?.[1]?.maxInFlight).toBe(4);
  });
});

test('headers are what gRPC takes as metadata', () => {
  expect(parseMetadata('X-Tenant=a=b')).toEqual(['x-tenant', 'a=b']);
  for (const text of ['x', '=y', 'grpc-timeout=1S', 'x-bin=aa', 'x y=1', 'x=ü', 'x=a\nb']) {
    expect(() => parseMetadata(text)).toThrow(/--metadata wants/);
  }
});

test('lists of cores are what taskset takes', () => {
  expect(parseCpus('--cpus', '0-3,5')).toBe('0-3,5');
  expect(parseCpus('--cpus', '')).toBe('');
  expect(() => parseCpus('--cpus', '0;reboot')).toThrow(/--cpus/);
});

test('choices and counts outside their bounds are refused', () => {
  expect(oneOf('--output', 'json', ['table', 'json'])).toBe('json');
  expect(() => oneOf('--output', 'xml', ['table', 'json'])).toThrow(/table or json/);
  expect(() => parseCount('--runs', '0')).toThrow(/--runs/);
  expect(() => parseCount('--runs', '')).toThrow(/--runs/);
});

test('the ceiling is measured at powers of two and at the largest batch', () => {
  expect(batchSizes(64)).toEqual([1, 2, 4, 8, 16, 32, 64]);
  expect(batchSizes(1)).toEqual([1]);
  expect(batchSizes(6)).toEqual([1, 2, 4, 6]);
});

describe('processes to watch', () => {
  test('a name, one or more ids, and a plus for the whole tree', () => {
    expect(parseCpuWatch('server=12,34')).toEqual({ name: 'server', pids: [12, 34], tree: false });
    expect(parseCpuWatch('all=12+')).toEqual({ name: 'all', pids: [12], tree: true });
    expect(() => parseCpuWatch('12')).toThrow(/--cpu-of/);
    expect(() => parseCpuWatch('a=b')).toThrow(/--cpu-of/);
  });

  test('/proc/PID/stat is read past a name full of brackets and spaces', () => {
    const line = '42 (a) b (c) ) S 7 42 42 0 -1 4194560 1 0 0 0 150 25 9 10 20 0 1 0 100 1 1';
    expect(parseProcStat(line)).toEqual({ comm: 'a) b (c)', parent: 7, cpuUs: 1_750_000, endedChildrenCpuUs: 190_000 });
  });
});
