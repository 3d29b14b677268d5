import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { registerBench } from '../../../bench/command.js';
import { generateBenchModels } from '../../../bench/models/generate.js';
import { type NullServer, type NullServerOptions, startNullServer } from '../../../bench/null-server.js';
import { pointsOf } from '../../../bench/plan.js';
import { processTree } from '../../../bench/process-cpu.js';
import type { BenchReport } from '../../../bench/report.js';
import { runSession, type SessionPlan } from '../../../bench/session.js';

const folder = mkdtempSync(join(tmpdir(), 'shoal-bench-'));
let server: NullServer | undefined;

beforeAll(() => generateBenchModels(folder, ['tiny']));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(async () => {
  server?.close();
  server = undefined;
  await vi.waitFor(() => expect(processTree(process.pid)).toEqual([process.pid]), { timeout: 5000 });
});

async function address(options: Omit<NullServerOptions, 'address'> = {}): Promise<string> {
  server = await startNullServer({ address: '127.0.0.1:0', ...options });
  return `127.0.0.1:${server.port}`;
}

const short = {
  points: pointsOf([{ kind: 'closed', concurrency: 4 }]),
  inputs: [{ rows: undefined, shapes: new Map(), files: new Map() }],
  runs: 1,
  warmupMs: 100,
  durationMs: 400,
  drainMs: 5000,
  maxInFlight: 10_000,
  pacing: 'spin',
  seed: 1,
  payloads: 4,
  verify: false,
  processes: 1,
  calls: { client: 'http2', connections: 1, metadata: [] },
  cpus: '',
  watches: [],
  ceiling: undefined,
} as const satisfies Omit<SessionPlan, 'target'>;

const never = new AbortController().signal;
const quiet = { progressed: () => undefined };

const measure = (at: string, changes: Partial<SessionPlan> = {}, stop: AbortSignal = never): Promise<BenchReport> =>
  runSession({ ...short, target: { server: at, model: 'null', version: '' }, ...changes }, quiet, stop);

describe('against a server that does nothing', () => {
  test('a closed loop answers everything, in every run and process', async () => {
    const report = await measure(await address(), {
      runs: 2,
      processes: 2,
      points: pointsOf([
        { kind: 'closed', concurrency: 1 },
        { kind: 'closed', concurrency: 8 },
      ]),
      watches: [{ name: 'server', pids: [process.pid], tree: false }],
      verify: true,
    });
    expect(report.points.map((point) => point.runs.length)).toEqual([2, 2]);
    for (const point of report.points) {
      expect(point.errors).toEqual({});
      for (const run of point.runs) {
        expect(run.good).toBe(run.sent);
        expect(run.good).toBeGreaterThan(20);
        expect(run.throughputPerS).toBeCloseTo(run.good / 0.4, -3);
        expect(run.latencyUs.p50).toBeGreaterThan(10);
        expect(run.latencyUs.p50).toBeLessThanOrEqual(run.latencyUs.p99);
        expect(run.clientCpuUsPerRequest).toBeGreaterThan(5);
        expect(run.serverCpuUsPerRequest.server).toBeGreaterThan(5);
      }
    }
  });

  test('an open loop offers its rate, shared by two processes', async () => {
    const points = pointsOf([{ kind: 'open', ratePerS: 300 }]);
    const report = await measure(await address(), { points, processes: 2, durationMs: 1000 });
    const run = report.points[0]?.runs[0];
    expect(run?.good).toBe(run?.sent);
    // Poisson: √300 ≈ 17.
    expect(Math.abs((run?.sent ?? 0) - 300)).toBeLessThan(75);
    expect(run?.sendLagUs.count).toBe(run?.sent);
  });

  test('a deadline nobody meets is counted by code, and leaves no goodput', async () => {
    let seen = 0;
    // Only the trial request is answered.
    const at = await address({ answerWhen: (answer) => ++seen === 1 && answer() });
    const report = await measure(at, { points: pointsOf([{ kind: 'closed', concurrency: 4 }], 20) });
    const run = report.points[0]?.runs[0];
    expect(Object.keys(run?.errors ?? {})).toEqual(['DEADLINE_EXCEEDED']);
    expect(run?.errors.DEADLINE_EXCEEDED?.count).toBe(run?.sent);
    // Four in flight for 400 ms, given up after 20 ms each.
    expect(run?.sent).toBeGreaterThan(20);
    expect(run).toMatchObject({ good: 0, goodputPerS: 0, verdict: { valid: false } });
  });
});

describe('several groups at once', () => {
  const groups = [
    { name: 'steady', load: { kind: 'open', ratePerS: 400 }, deadlineMs: undefined, callers: ['a', 'b'] },
    { name: 'flood', load: { kind: 'closed', concurrency: 3 }, deadlineMs: 5000, callers: [] },
  ] as const;

  test('are counted each for itself, over several processes, and share the bill', async () => {
    const watches = [{ name: 'server', pids: [process.pid], tree: false }];
    const report = await measure(await address(), { points: [groups], processes: 2, durationMs: 1000, watches });
    expect(report.points.map(({ name }) => name)).toEqual(['steady', 'flood']);
    const [steady, flood] = report.points.map(({ runs }) => runs[0]);
    expect(Math.abs((steady?.sent ?? 0) - 400)).toBeLessThan(90);
    expect(flood?.sent).toBeGreaterThan(400);
    for (const run of [steady, flood]) {
      expect(run?.attainment).toBe(1);
      expect(run?.refusedShare).toBe(0);
    }
    expect(steady?.clientCpuUsPerRequest).toBeCloseTo(flood?.clientCpuUsPerRequest ?? 0, 3);
  });

  test('one that is too small for every process is still whole', async () => {
    const small = [{ ...groups[1], load: { kind: 'closed', concurrency: 1 } }, groups[0]] as const;
    const report = await measure(await address(), { points: [small], processes: 2, durationMs: 500 });
    expect(report.points.map(({ runs }) => runs.length)).toEqual([1, 1]);
    expect(report.points[0]?.runs[0]?.good).toBeGreaterThan(50);
  });
});

test('several shapes are sent in turn', async () => {
  const shapes = [1, 2].map((rows) => ({ rows: undefined, shapes: new Map([['x', [rows, 64]]]), files: new Map() }));
  await expect(measure(await address(), { inputs: shapes })).rejects.toThrow(/have 1 and 2 rows/);
  const same = [1, 1].map((rows) => ({ rows, shapes: new Map([['x', [64]]]), files: new Map() }));
  const report = await measure(await address(), { inputs: same });
  expect(report.shapes).toEqual([1, 2].map(() => [{ name: 'x', shape: [1, 64] }]));
});

describe('a server that stalls for 400 ms', () => {
  /** Answers at once but for 400 ms, from 300 ms after the first of many requests. */
  function stalling(): Omit<NullServerOptions, 'address'> {
    const held: (() => void)[] = [];
    let seen = 0;
    let state: 'before' | 'stalled' | 'after' = 'before';
    return {
      answerWhen: (answer) => {
        // The first is the trial request.
        if (++seen === 2) {
          setTimeout(() => {
            state = 'stalled';
            setTimeout(() => {
              state = 'after';
              for (const late of held.splice(0)) late();
            }, 400);
          }, 300);
        }
        if (state === 'stalled') held.push(answer);
        else answer();
      },
    };
  }

  test('is seen by the open loop and hidden from the closed one', async () => {
    const window = { warmupMs: 0, durationMs: 1000 } as const;
    const closed = await measure(await address(stalling()), {
      ...window,
      points: pointsOf([{ kind: 'closed', concurrency: 1 }]),
    });
    server?.close();
    const open = await measure(await address(stalling()), {
      ...window,
      points: pointsOf([{ kind: 'open', ratePerS: 200 }]),
    });
    // Four arrivals in ten fall into the stall and wait 200 ms on average; one closed-loop request does.
    expect(open.points[0]?.latencyUs.p90.median).toBeGreaterThan(200_000);
    expect(open.points[0]?.latencyUs.mean.median).toBeGreaterThan(50_000);
    expect(closed.points[0]?.latencyUs.p90.median).toBeLessThan(100_000);
  });
});

describe('when something goes wrong', () => {
  test('nobody listening is one error', async () => {
    const free = await address();
    server?.close();
    await expect(measure(free)).rejects.toMatchObject({ code: 'MODEL_NOT_READY' });
  });

  test('a server that dies under load makes the run INVALID and says with which errors', async () => {
    let seen = 0;
    const at = await address({
      answerWhen: (answer) => {
        if (++seen === 50) server?.close();
        else answer();
      },
    });
    const report = await measure(at);
    expect(report.verdict).toBe('INVALID');
    expect(report.points[0]?.errors.UNAVAILABLE?.count).toBeGreaterThan(0);
    expect(report.points[0]?.verdict.reasons.join()).toMatch(/requests ended in UNAVAILABLE/);
  });

  test('a process to watch that does not exist is named', async () => {
    const watches = [{ name: 'ghost', pids: [4_194_304 + 7], tree: false }];
    await expect(measure(await address(), { watches })).rejects.toMatchObject({
      code: 'BAD_SETTING',
      message: expect.stringContaining('ghost'),
    });
  });

  test('stopping by hand gives what there is', async () => {
    const stop = new AbortController();
    let answered = 0;
    const at = await address({
      answerWhen: (answer) => {
        if (++answered === 500) stop.abort();
        answer();
      },
    });
    const report = await measure(at, { warmupMs: 0, durationMs: 60_000, runs: 3 }, stop.signal);
    expect(report).toMatchObject({ stoppedEarly: true, verdict: 'INVALID' });
    expect(report.points[0]?.runs).toHaveLength(1);
    expect(report.points[0]?.runs[0]?.good).toBeGreaterThan(100);
  });
});

describe('the ceiling', () => {
  const wish = {
    providers: ['cpu'],
    intraOpThreads: 1,
    batchSizes: [1, 8],
    warmupMs: 20,
    durationMs: 100,
    cpus: '',
  } as const;

  test('is measured in every run and the load is given as a share of it', async () => {
    const modelFile = join(folder, 'tiny', '1', 'model.onnx');
    const report = await measure(await address(), { runs: 2, ceiling: { ...wish, modelFile } });
    const { points, best } = report.ceiling ?? { points: [], best: undefined };
    expect(points.map((point) => point.batch)).toEqual([1, 8]);
    for (const point of points) {
      expect(point.rowsPerS.min).toBeGreaterThan(100);
      expect(point.callUs.p50).toBeGreaterThan(1);
    }
    const fraction = report.points[0]?.ceilingFraction ?? 0;
    expect(fraction).toBeCloseTo((report.points[0]?.rowsPerS.median ?? 0) / (best?.rowsPerS.median ?? 0), 6);
    expect(fraction).toBeGreaterThan(0);
  });

  test('of a file that is no model fails with its name', async () => {
    const modelFile = join(folder, 'tiny', 'config.pbtxt');
    await expect(measure(await address(), { ceiling: { ...wish, modelFile } })).rejects.toMatchObject({
      code: 'MODEL_UNLOADABLE',
      message: expect.stringContaining(modelFile),
    });
  });
});

describe('shoal bench', () => {
  const bench = (...args: string[]): Promise<Command> => {
    const program = new Command('shoal').exitOverride();
    registerBench(program);
    return program.parseAsync(['bench', ...args], { from: 'user' });
  };
  afterEach(() => {
    process.exitCode = undefined;
    vi.restoreAllMocks();
  });

  test('--null measures the harness itself and saves what it prints', async () => {
    const printed = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const file = join(folder, 'null.json');
    await bench(
      '--null',
      '--concurrency',
      '2',
      '--duration',
      '300ms',
      '--warmup',
      '50ms',
      '--runs',
      '1',
      '--save',
      file,
    );
    const report = JSON.parse(readFileSync(file, 'utf8')) as BenchReport;
    expect(report).toMatchObject({ tool: 'shoal bench', model: 'null', runs: 1, durationMs: 300 });
    expect(report.points[0]?.runs[0]?.good).toBeGreaterThan(20);
    expect(printed.mock.calls.join('')).toMatch(/concurrency 2 .*VALID/);
  });

  test.each([
    [['--concurrency', '1'], /name of a model/],
    [['m', '--null'], /takes no model/],
    [['m', '--concurrency', '1', '--rate', '1'], /exclude each other/],
    [['m', '--duration', 'long'], /--duration wants a duration/],
    [['m', '--ceiling', '--models', '/nowhere'], /no model file at \/nowhere\/m\/1\/model.onnx/],
    [['m', '--input', 'x:/nowhere.npy'], /--input cannot read \/nowhere.npy/],
    [['m', '--cpus', 'all'], /--cpus wants a list of cores/],
  ])('%j is refused before anything is started', async (args, words) => {
    await expect(bench(...args)).rejects.toThrow(
      expect.objectContaining({ code: 'BAD_SETTING', message: expect.stringMatching(words) }),
    );
    expect(existsSync('/nowhere')).toBe(false);
  });
});
