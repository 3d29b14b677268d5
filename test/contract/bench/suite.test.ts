// What the suites stand on: real servers started, loaded, asked for their counters, and stopped without a trace.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generateBenchModels, generateSlowModel } from '../../../bench/models/generate.js';
import { type BarContext, BarRuns, closed, groupOf, open } from '../../../bench/suites/bars/bar.js';
import { type ServerUnderTest, startCluster, startServer } from '../../../bench/suites/server-under-test.js';
import { eventually } from '../../support/eventually.js';
import { requireFreshBuild } from '../../support/fresh-build.js';

const folder = mkdtempSync(join(tmpdir(), 'shoal-suite-test-'));
const said: string[] = [];

const context: BarContext = {
  folder,
  repetitions: 1,
  durationMs: 500,
  warmupMs: 100,
  serverCpus: '',
  loadCpus: '',
  processes: 1,
  client: 'http2',
  loadgen: [],
  serverFlags: [],
  coordinatorFlags: [],
  workerFlags: [],
  lateUse: 0.6,
  fairUse: 0.9,
  mostOthers: 1000,
  quietLimitMs: 0,
  say: (line) => said.push(line),
};

beforeAll(async () => {
  requireFreshBuild();
  await generateBenchModels(join(folder, 'models'), ['tiny', 'seq']);
  await generateSlowModel(join(folder, 'fast'), { name: 'slow', milliseconds: 2 });
  await generateSlowModel(join(folder, 'slow'), { name: 'slow', milliseconds: 10 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function gone(server: ServerUnderTest): Promise<void> {
  await server.stop();
  await eventually(() => {
    for (const pid of server.pids) expect(() => process.kill(pid, 0)).toThrow();
  });
}

test('a server is measured in groups and shapes, with its batches from its own counters', async () => {
  const server = await startServer({
    repository: join(folder, 'models'),
    models: ['tiny', 'seq'],
    cpus: '',
    dataFolder: join(folder, 'data'),
    flags: ['--max-queue-rows', '1024'],
  });
  const runs = new BarRuns(context, 'test');
  const [alone] = await runs.take('alone', { server, model: 'tiny', groups: [groupOf(closed(8))] });
  expect(alone?.good).toBeGreaterThan(100);
  const [batches] = runs.batches('alone');
  expect(batches?.rows).toBeGreaterThanOrEqual(alone?.good ?? 0);
  // The counters hold the warm-up as well; the receipts do not.
  expect(batches?.meanRows).toBeGreaterThan(1);
  expect(alone?.meanBatch).toBeGreaterThan(1);
  expect(batches?.reasons.reduce((sum, [, share]) => sum + share, 0)).toBeCloseTo(1, 9);
  expect(alone?.serverCpuUsPerRequest.shoal).toBeGreaterThan(1);

  const shapes = [4, 5].map((length) => new Map([['x', [length, 256]]]));
  const groups = [
    groupOf(open(200), { name: 'a', callers: ['a-1', 'a-2'], deadlineMs: 5000 }),
    groupOf(closed(2), { name: 'b' }),
  ];
  await runs.take('both', { server, model: 'seq', groups, shapes });
  for (const label of ['both/a', 'both/b']) expect(runs.median(label, (run) => run.attainment)).toBe(1);
  expect(said.some((line) => line.startsWith('test, both/a: '))).toBe(true);
  expect(runs.result([]).runs.map(({ label }) => label)).toEqual(['alone', 'both/a', 'both/b']);
  await gone(server);
});

test('a cluster has a coordinator and its workers as processes of their own, all of them ready', async () => {
  const server = await startCluster({
    repositories: [join(folder, 'fast'), join(folder, 'fast'), join(folder, 'slow')],
    model: 'slow',
    cpus: '',
    dataFolder: join(folder, 'data-cluster'),
  });
  expect(server.pids).toHaveLength(4);
  expect((await server.scrape()).sum('shoal_workers', { state: 'connected' })).toBe(3);
  const runs = new BarRuns(context, 'test');
  const [run] = await runs.take('load', { server, model: 'slow', pacing: 'timer', groups: [groupOf(closed(6))] });
  expect(run?.errors).toEqual({});
  expect(run?.good).toBeGreaterThan(20);
  await gone(server);
});

test('a server that cannot start says so', async () => {
  const server = startServer({
    repository: join(folder, 'models'),
    models: ['tiny'],
    cpus: '',
    dataFolder: join(folder, 'data-odd'),
    flags: ['--pipeline-depth', 'many'],
  });
  await expect(server).rejects.toMatchObject({ code: 'MODEL_NOT_READY' });
});
