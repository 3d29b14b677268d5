import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { runExternal } from '../../../bench/suites/external-load.js';

const folder = mkdtempSync(join(tmpdir(), 'shoal-external-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A program that says it did what it was told: its own arguments come back as the error it reports. */
const program = join(folder, 'load.mjs');
writeFileSync(
  program,
  `const latency_us = { mean: 1, p50: 1, p90: 1, p95: 1, p99: 1, 'p99.9': 1, max: 1 };
   console.log(JSON.stringify({ sent: 9, ok: 8, errors: { INTERNAL: 1 }, first_error: process.argv.slice(2).join(' '),
     throughput: 4, duration_s: 2, latency_us, client_cpu_us_per_request: 3 }));`,
);

const run = {
  server: '127.0.0.1:1',
  model: 'big',
  input: { name: 'x', datatype: 'FP32', shape: [1, 3072] },
  concurrency: 64,
  durationMs: 2000,
  warmupMs: 500,
  cpus: '0',
  watches: [{ name: 'me', pids: [process.pid], tree: false }],
} as const;

test('is told what to do, and CPU is spread over what the server counted', async () => {
  const counts = [100, 150];
  const answered = (): Promise<number> => Promise.resolve(counts.shift() ?? 0);
  const seen = await runExternal({ ...run, command: [process.execPath, program, '--threads', '1'], answered });
  expect(seen.errors.INTERNAL?.first).toBe(
    '--threads 1 --addr 127.0.0.1:1 --model big --input x:FP32:1x3072 --concurrency 64 --duration 2 --warmup 0.5 --json',
  );
  expect(seen).toMatchObject({ good: 8, throughputPerS: 4, verdict: { valid: false } });
  expect(seen.serverCpuUsPerRequest.me).toBeGreaterThanOrEqual(0);
});

test('that prints nothing is an error', async () => {
  const silent = join(folder, 'silent.mjs');
  writeFileSync(silent, '');
  const command = [process.execPath, silent];
  await expect(runExternal({ ...run, command, answered: () => Promise.resolve(0) })).rejects.toThrow(
    /printed no result/,
  );
});
