import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { generateBenchModels, generateSlowModel } from '../../../bench/models/generate.js';
import { systemClock } from '../../../core/clock.js';
import type { Executor, ExecutorOptions } from '../../../worker/executor/executor.js';
import {
  floats,
  floatsOf,
  isAlive,
  loadRequest,
  outputsOf,
  runWork,
  startExecutor,
  tensor,
  until,
} from '../../contract/worker/harness.js';

let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-faults-'));
  await generateBenchModels(folder, ['affine']);
  await generateSlowModel(folder, { name: 'slow', milliseconds: 400 });
  await generateSlowModel(folder, { name: 'endless', milliseconds: 300_000 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const executors: Executor[] = [];
afterEach(async () => {
  for (const executor of executors) executor.kill();
  await Promise.all(executors.splice(0).map((executor) => executor.close()));
});

const model = (name: string): string => path.join(folder, name, '1/model.onnx');
const oneRow = { inputs: [floats('x', [1, 4], [1, 2, 3, 4])] };

async function loaded(name: string, options: Partial<ExecutorOptions> = {}): Promise<Executor> {
  const executor = await startExecutor(options);
  executors.push(executor);
  await executor.load(loadRequest(model(name)));
  return executor;
}

describe('an executor that dies', () => {
  it('fails the batch it ran, hands back the one behind it, and says how it died', async () => {
    const executor = await loaded('endless');
    const ran = runWork(executor, oneRow);
    const stood = runWork(executor, oneRow);
    process.kill(executor.pid, 'SIGKILL');
    const words = 'The executor test/1 #0 was killed by SIGKILL (as the kernel does when memory runs out)';
    expect(await ran).toMatchObject({ ok: false, reached: true, error: { code: 'EXECUTOR_CRASHED' } });
    expect(await ran).toMatchObject({ error: { message: expect.stringContaining(words) } });
    expect(await stood).toMatchObject({ ok: false, reached: false, error: { code: 'EXECUTOR_CRASHED' } });
    expect(await executor.exited).toMatchObject({ code: 'EXECUTOR_CRASHED' });
    expect(executor.freeSlots).toBe(0);
    expect(await runWork(executor, oneRow)).toMatchObject({ ok: false, reached: false });
  });

  it('of a fault in native code tells the signal', async () => {
    const executor = await loaded('affine');
    process.kill(executor.pid, 'SIGSEGV');
    expect((await executor.exited)?.message).toMatch(/died of SIGSEGV/);
  });

  it('while it loads fails the load', async () => {
    const executor = await startExecutor();
    executors.push(executor);
    const load = executor.load(loadRequest(model('affine')));
    executor.kill();
    await expect(load).rejects.toMatchObject({ code: 'EXECUTOR_CRASHED' });
  });
});

describe('an executor that hangs', () => {
  it('in a batch is killed by the watchdog', async () => {
    const executor = await loaded('endless', { batchTimeoutMs: 300 });
    expect(await runWork(executor, oneRow)).toMatchObject({
      ok: false,
      reached: true,
      error: {
        code: 'EXECUTOR_TIMEOUT',
        message: 'The executor test/1 #0 was killed: a batch ran longer than 300 ms.',
      },
    });
    expect(isAlive(executor.pid)).toBe(false);
  });

  it('because it is stopped is killed by the watchdog', async () => {
    const executor = await loaded('affine', { batchTimeoutMs: 300 });
    process.kill(executor.pid, 'SIGSTOP');
    expect(await runWork(executor, oneRow)).toMatchObject({ ok: false, error: { code: 'EXECUTOR_TIMEOUT' } });
    expect(isAlive(executor.pid)).toBe(false);
  });

  it('is told from one that has many batches, each within the limit', async () => {
    const executor = await loaded('slow', { batchTimeoutMs: 3_000 });
    const started = systemClock.nowMs();
    let count = 0;
    while (systemClock.nowMs() - started < 3_500) {
      const [a, b] = await Promise.all([runWork(executor, oneRow), runWork(executor, oneRow)]);
      expect(a.ok && b.ok).toBe(true);
      count += 2;
    }
    expect(count).toBeGreaterThan(2);
  });

  it('while it leaves is killed after the grace period', async () => {
    const executor = await loaded('affine', { closeGraceMs: 100 });
    process.kill(executor.pid, 'SIGSTOP');
    await executor.close();
    expect(isAlive(executor.pid)).toBe(false);
  });
});

describe('signals', () => {
  it('to the whole group are left to the worker', async () => {
    const executor = await loaded('affine');
    process.kill(executor.pid, 'SIGINT');
    process.kill(executor.pid, 'SIGTERM');
    const [y] = await outputsOf(executor, oneRow);
    expect(floatsOf(y)).toEqual([3, 5, 7, 9]);
  });

  it('finds the kernel told whom to take first', async () => {
    const executor = await loaded('affine');
    expect(readFileSync(`/proc/${executor.pid}/oom_score_adj`, 'utf8').trim()).toBe('1000');
    expect(readFileSync(`/proc/${executor.pid}/cmdline`, 'utf8')).toContain('shoal-executor test/1 #0');
  });
});

describe.each(['idle', 'busy'])('a worker that is killed with an %s executor', (what) => {
  it('leaves no executor behind, and no file', async () => {
    const slabDir = mkdtempSync(path.join(os.tmpdir(), 'shoal-slabs-'));
    const script = path.join(import.meta.dirname, 'hold-executor.mjs');
    const holder = spawn(process.execPath, [script, model('endless'), what, slabDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    holder.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await until('the executor to be up', () => said.includes('\n'));
    const pid = Number(said);
    expect(isAlive(pid)).toBe(true);
    holder.kill('SIGKILL');
    await until('the executor to be gone', () => !isAlive(pid));
    expect(readdirSync(slabDir)).toEqual([]);
    rmSync(slabDir, { recursive: true });
  });
});

describe('a full slab folder', () => {
  const mount = path.join(os.tmpdir(), `shoal-small-${process.pid}`);
  let refused = '';
  beforeAll(() => {
    mkdirSync(mount, { recursive: true });
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount], { stdio: 'pipe' });
    } catch (thrown) {
      refused = String(thrown);
      process.stderr.write(`skipped: a small tmpfs cannot be mounted here: ${refused}\n`);
    }
  });
  afterAll(() => {
    if (refused === '') execFileSync('umount', ['-l', mount]);
    rmSync(mount, { recursive: true, force: true });
  });

  it('costs the batch that did not fit, on its way in or out, and no other', async ({ skip }) => {
    if (refused !== '') skip();
    const executor = await loaded('affine', { slabDir: mount });
    const rows = (count: number) => ({ inputs: [tensor('x', 'FP32', [count, 4], new Uint8Array(count * 16))] });
    const tooLarge = await runWork(executor, rows(100_000));
    expect(tooLarge).toMatchObject({ ok: false, error: { code: 'OUT_OF_SPACE' } });
    expect(!tooLarge.ok && tooLarge.error.message).toBe(
      `The shared-memory folder ${mount} has no room for a batch of 1600000 bytes (ENOSPC).`,
    );
    // 640 KB fit on the way in; the answer beside them does not.
    const noRoomForAnswer = await runWork(executor, rows(40_000));
    expect(noRoomForAnswer).toMatchObject({ ok: false, reached: true, error: { code: 'OUT_OF_SPACE' } });
    const [y] = await outputsOf(executor, oneRow);
    expect(floatsOf(y)).toEqual([3, 5, 7, 9]);
  });
});
