import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { generateBenchModels } from '../../../bench/models/generate.js';
import type { VersionStatus } from '../../../core/model.js';
import { createLogger } from '../../../platform/telemetry/logger.js';
import { sha256OfFile } from '../../../worker/profile-store.js';
import type { Worker, WorkerOptions } from '../../../worker/worker.js';
import { floats, Listener, planFor, startWorker, until } from './harness.js';

let folder = '';
let modelPath = '';
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-worker-profiles-'));
  await generateBenchModels(path.join(folder, 'models'), ['affine', 'neighbour']);
  modelPath = path.join(folder, 'models/affine/1/model.onnx');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const workers: Worker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.drain(0)));
});

async function serving(options: Partial<WorkerOptions>): Promise<{ worker: Worker; listener: Listener }> {
  const worker = await startWorker({ repositories: [], ...options });
  workers.push(worker);
  await worker.loadVersion(planFor(modelPath, { maxBatchSize: 32 }));
  return { worker, listener: new Listener(worker) };
}

const pointsOf = (status: VersionStatus | undefined) => status?.profiles.cpu ?? [];
const rowsOf = (status: VersionStatus | undefined) => pointsOf(status).map(({ rows }) => rows);

async function serve(listener: Listener, rows: number, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const inputs = [floats('x', [rows, 4], Array(rows * 4).fill(1))];
    const answer = await listener.execute({ model: 'm', rows, inputs });
    if (answer.kind !== 'result') throw new Error(JSON.stringify(answer));
  }
}

it('a version is announced ready with what its trial runs took', async () => {
  const { listener } = await serving({});
  await until('ready', () => listener.versions.get('m/1')?.state === 'ready');
  const points = pointsOf(listener.versions.get('m/1'));
  expect(points.map(({ rows }) => rows)).toEqual([1, 2, 4, 8, 16, 32]);
  for (const { ms } of points) expect(ms).toBeGreaterThan(0);
});

it('a model that is served without batching is told of one row only', async () => {
  const worker = await startWorker({ repositories: [] });
  workers.push(worker);
  await worker.loadVersion(planFor(path.join(folder, 'models/neighbour/1/model.onnx')));
  expect(worker.statuses().map(rowsOf)).toEqual([[1]]);
});

it('what batches took is in every status, and in that of the next worker on the same folder', async () => {
  const profileDir = path.join(folder, 'kept');
  const first = await serving({ profileDir });
  await serve(first.listener, 3, 5);
  await serve(first.listener, 23, 5);
  const [status] = first.worker.statuses();
  expect(rowsOf(status)).toEqual([1, 2, 3, 4, 8, 16, 23, 32]);
  await first.worker.drain(1000);

  const file = path.join(profileDir, `${await sha256OfFile(modelPath)}.json`);
  const stored = JSON.parse(readFileSync(file, 'utf8'));
  expect(stored).toMatchObject({ model: 'm', version: '1', profiles: [{ deviceClass: 'cpu' }] });
  expect(stored.profiles[0].points.map(({ rows }: { rows: number }) => rows)).toEqual(rowsOf(status));

  // Marked, so that nothing measured anew can be taken for it: where something is stored, trial runs are not timed.
  for (const point of stored.profiles[0].points) point.ms = 1000 + point.rows;
  writeFileSync(file, JSON.stringify(stored));
  const second = await serving({ profileDir, workerId: 'w2' });
  await until('ready', () => second.listener.versions.get('m/1')?.state === 'ready');
  expect(pointsOf(second.listener.versions.get('m/1'))).toEqual(
    [1, 2, 3, 4, 8, 16, 23, 32].map((rows) => ({ rows, ms: 1000 + rows })),
  );
  // And that gives way to what batches take now.
  await serve(second.listener, 3, 2);
  expect(pointsOf(second.worker.statuses()[0]).find(({ rows }) => rows === 3)?.ms).toBeLessThan(500);

  const another = await serving({ profileDir, workerId: 'w3', repositories: [] });
  await another.worker.drain(0);
  expect(readdirSync(profileDir)).toEqual([path.basename(file)]);
});

it('what was learned with other thread counts is not taken over', async () => {
  const profileDir = path.join(folder, 'threads');
  const { listener, worker } = await serving({ profileDir });
  await serve(listener, 3, 2);
  await worker.drain(1000);
  const other = await startWorker({ repositories: [], profileDir });
  workers.push(other);
  const session = { intraOpThreads: 7, interOpThreads: undefined, graphOptimization: undefined, provider: undefined };
  await other.loadVersion(planFor(modelPath, { maxBatchSize: 32, session }));
  expect(other.statuses().map(rowsOf)).toEqual([[1, 2, 4, 8, 16, 32]]);
});

it('a folder that cannot be written costs a warning, and nothing else', async () => {
  const blocked = path.join(folder, 'a-file');
  writeFileSync(blocked, '');
  const lines: string[] = [];
  const logger = createLogger({ level: 'warn', destination: { write: (line) => void lines.push(line) } });
  const { listener, worker } = await serving({ profileDir: path.join(blocked, 'profiles'), logger });
  await serve(listener, 3, 2);
  await worker.unloadVersion('m', '1');
  await worker.drain(1000);
  expect(lines.filter((line) => line.includes('Latency profiles cannot be kept in'))).toHaveLength(1);
});
