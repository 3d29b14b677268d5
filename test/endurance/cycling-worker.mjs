// A process of its own, from the compiled product: a worker that loads and unloads one version again and again and
// tells, one JSON line a cycle, what it then holds. Arguments: model repository, an empty one, cycles.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createLogger } from '../../dist/platform/telemetry/logger.js';
import { startWorker } from '../../dist/worker/main.js';
import { scanRepository } from '../../dist/worker/repository/scan.js';

const [repository, empty, cycles] = process.argv.slice(2);
const data = mkdtempSync(path.join(os.tmpdir(), 'shoal-endurance-'));
const worker = await startWorker({
  workerId: 'endurance',
  repository: empty,
  devices: ['cpu'],
  slabDir: '/dev/shm',
  data,
  pipelineDepth: 1,
  batchTimeoutMs: 30_000,
  loadTimeoutMs: 60_000,
  restart: { baseDelayMs: 100, maxDelayMs: 1000, crashLimit: 3, crashWindowMs: 60_000 },
  softwareVersion: 'endurance',
  log: createLogger({ level: 'error' }),
});
const { plans } = await scanRepository(repository);
const [plan] = plans;
for (let cycle = 0; cycle < Number(cycles); cycle++) {
  await worker.loadVersion(plan);
  const [status] = worker.statuses();
  await worker.unloadVersion(plan.model, plan.version);
  const held = {
    rss: process.memoryUsage.rss(),
    descriptors: readdirSync('/proc/self/fd').length,
    children: readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim(),
    versions: worker.statuses().length,
  };
  process.stdout.write(`${JSON.stringify({ state: status?.state, ...held })}\n`);
}
await worker.drain(0);
rmSync(data, { recursive: true, force: true });
