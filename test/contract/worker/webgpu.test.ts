import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { generateBenchModels } from '../../../bench/models/generate.js';
import type { Worker } from '../../../worker/worker.js';
import { floatsOf, Listener, startWorker, tensor } from './harness.js';

// A real GPU path without a GPU: SwiftShader, the software Vulkan device of Debian's chromium package.
const driver = '/usr/lib/chromium/vk_swiftshader_icd.json';
const loaders = ['/usr/lib/x86_64-linux-gnu/libvulkan.so.1', '/usr/lib/aarch64-linux-gnu/libvulkan.so.1'];
const missing = [
  ...(existsSync(driver) ? [] : [`${driver} (Debian package chromium)`]),
  ...(loaders.some(existsSync) ? [] : ['libvulkan.so.1 (Debian package libvulkan1)']),
];
const skipReason = missing.length === 0 ? '' : `WebGPU is not tested, for want of ${missing.join(' and ')}`;
if (skipReason !== '' && process.env.CI === 'true') throw new Error(skipReason);
if (skipReason !== '') process.stderr.write(`skipped: ${skipReason}\n`);

const executorEnv = { VK_DRIVER_FILES: driver };
let folder = '';
const workers: Worker[] = [];
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-webgpu-'));
  await generateBenchModels(folder, ['tiny']);
});
afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.drain(1_000)));
  rmSync(folder, { recursive: true, force: true });
});

async function scores(device: string): Promise<number[]> {
  const worker = await startWorker({ repositories: [folder], devices: [device], executorEnv });
  workers.push(worker);
  const listener = new Listener(worker);
  await worker.settled();
  expect(worker.statuses()).toMatchObject([{ state: 'ready', instances: [{ device }] }]);
  const rows = 8;
  const values = Float32Array.from({ length: rows * 64 }, (_, i) => Math.sin(i));
  const inputs = [tensor('x', 'FP32', [rows, 64], new Uint8Array(values.buffer))];
  const answer = await listener.execute({ model: 'tiny', rows, inputs });
  if (answer.kind !== 'result') throw new Error(JSON.stringify(answer));
  return floatsOf(answer.result.outputs[0]);
}

it.skipIf(skipReason !== '')('a model gives the same on WebGPU as on the CPU', { timeout: 120_000 }, async () => {
  const gpu = await scores('webgpu:0');
  const cpu = await scores('cpu');
  expect(gpu.length).toBe(80);
  for (const [i, value] of cpu.entries()) expect(Math.abs(value - (gpu[i] ?? Number.NaN))).toBeLessThan(1e-4);
});

it('a worker whose WebGPU has no driver does not start, and names the remedy', { timeout: 60_000 }, async () => {
  const nowhere = { VK_DRIVER_FILES: '/nonexistent.json', VK_ICD_FILENAMES: '/nonexistent.json' };
  const start = startWorker({ repositories: [], devices: ['webgpu:0'], executorEnv: nowhere });
  await expect(start).rejects.toMatchObject({
    code: 'PROVIDER_MISSING',
    message: expect.stringMatching(/^The device webgpu:0 cannot be used: .*libvulkan1.*vk_swiftshader_icd\.json/),
  });
});
