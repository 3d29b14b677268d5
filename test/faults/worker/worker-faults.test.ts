import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { generateBenchModels, generateSlowModel } from '../../../bench/models/generate.js';
import type { Worker } from '../../../worker/worker.js';
import { floats, floatsOf, isAlive, Listener, planFor, startWorker, until } from '../../contract/worker/harness.js';

let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-worker-faults-'));
  await generateBenchModels(folder, ['affine']);
  await generateSlowModel(folder, { name: 'slow', milliseconds: 100 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let worker: Worker | undefined;
afterEach(async () => worker?.drain(0));

const model = (name: string): string => path.join(folder, name, '1/model.onnx');
const inputs = [floats('x', [1, 4], [1, 2, 3, 4])];
const batch = { model: 'm', rows: 1, inputs };

/** Executors of this process that are alive. */
function children(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return status.includes(`\nPPid:\t${process.pid}\n`) && command.includes('shoal-executor');
      } catch {
        return false;
      }
    });
}

it('restarts a killed executor and answers on; only the batch it ran is lost', async () => {
  worker = await startWorker({ repositories: [] });
  await worker.loadVersion(planFor(model('slow')));
  const listener = new Listener(worker);
  const slots = () => listener.versions.get('m/1')?.slots;
  await until('hello', () => slots() === 1);
  const victim = worker.statuses()[0]?.instances[0]?.pid ?? 0;
  const running = listener.execute(batch);
  const behind = listener.execute(batch);
  process.kill(victim, 'SIGKILL');
  expect(await running).toMatchObject({ failure: { error: { code: 'EXECUTOR_CRASHED' }, retryable: true } });
  // Nobody is left to run it: it goes back at once, so that another worker may.
  expect(await behind).toMatchObject({ failure: { error: { code: 'MODEL_NOT_READY' }, retryable: true } });
  expect(slots()).toBe(0);
  expect(listener.versions.get('m/1')).toMatchObject({
    state: 'ready',
    reason: expect.stringMatching(/restarting in/),
  });
  await until('the restart', () => slots() === 1);
  expect(listener.versions.get('m/1')).toMatchObject({ reason: '', instances: [{ restarts: 1 }] });
  const answer = await listener.execute(batch);
  expect(answer.kind === 'result' && floatsOf(answer.result.outputs[0])).toEqual([3, 5, 7, 9]);
});

it('gives a batch that stood behind a killed executor to another instance', async () => {
  worker = await startWorker({ repositories: [] });
  await worker.loadVersion(planFor(model('slow'), { instanceGroups: [{ kind: 'cpu', count: 2, gpus: [] }] }));
  const listener = new Listener(worker);
  await until('hello', () => listener.versions.get('m/1')?.slots === 2);
  const victim = worker.statuses()[0]?.instances[0]?.pid ?? 0;
  const answers = [0, 1, 2, 3].map(() => listener.execute(batch));
  process.kill(victim, 'SIGKILL');
  const kinds = (await Promise.all(answers)).map(({ kind }) => kind).sort();
  expect(kinds).toEqual(['failure', 'result', 'result', 'result']);
});

it('quarantines a version whose executors keep dying, and says how; reload takes it out', async () => {
  const restart = { baseDelayMs: 5, maxDelayMs: 20, crashLimit: 3, crashWindowMs: 60_000 };
  worker = await startWorker({ repositories: [], restart });
  const plan = planFor(model('affine'));
  await worker.loadVersion(plan);
  const listener = new Listener(worker);
  for (let crash = 1; crash <= 3; crash++) {
    await until(`an executor to kill (${crash})`, () => listener.versions.get('m/1')?.slots === 1);
    process.kill(worker.statuses()[0]?.instances[0]?.pid ?? 0, 'SIGSEGV');
    await until('its end', () => listener.versions.get('m/1')?.slots === 0);
  }
  await until('quarantine', () => listener.versions.get('m/1')?.state === 'quarantined');
  expect(listener.versions.get('m/1')?.reason).toMatch(
    /crashed 3 times within 60 s without one good batch; the last time: The executor m\/1 #0 died of SIGSEGV/,
  );
  expect(await listener.execute(batch)).toMatchObject({ failure: { error: { code: 'MODEL_NOT_READY' } } });
  expect(children()).toEqual([]);
  await worker.loadVersion(plan);
  expect((await listener.execute(batch)).kind).toBe('result');
});

/** Resident megabytes of this process, garbage not counted where it can be collected. */
function residentMb(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss() / 2 ** 20;
}

// SHOAL_LOAD_CYCLES=500 makes the long run.
const cycles = Number(process.env.SHOAL_LOAD_CYCLES ?? 60);
it(`leaves nothing behind after ${cycles} loads and unloads`, { timeout: cycles * 2_000 }, async () => {
  const host = await startWorker({ repositories: [] });
  worker = host;
  const listener = new Listener(host);
  const openFiles = () => readdirSync('/proc/self/fd').length;
  const cycle = async () => {
    await host.loadVersion(planFor(model('affine')));
    expect((await listener.execute(batch)).kind).toBe('result');
    const pid = host.statuses()[0]?.instances[0]?.pid ?? 0;
    await host.unloadVersion('m', '1');
    expect(isAlive(pid)).toBe(false);
    listener.messages.length = 0;
  };
  for (let i = 0; i < 10; i++) await cycle();
  const [filesBefore, mbBefore] = [openFiles(), residentMb()];
  for (let i = 10; i < cycles; i++) await cycle();
  const [filesAfter, mbAfter] = [openFiles(), residentMb()];
  process.stderr.write(`${cycles} cycles: resident ${mbBefore.toFixed(1)} MB, then ${mbAfter.toFixed(1)} MB\n`);
  expect(filesAfter).toBe(filesBefore);
  expect(host.statuses()).toEqual([]);
  expect(children()).toEqual([]);
  // The collector's own slack; a leak of even one slab or session a cycle would be more.
  expect(mbAfter - mbBefore).toBeLessThan(20);
});
