import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { generateBenchModels } from '../../bench/models/generate.js';
import { ClusterView } from './support/cluster-view.js';
import { Load } from './support/load.js';
import { MemoryLimit } from './support/memory-limit.js';
import { hungryModel } from './support/odd-models.js';
import { addressSpaceBytes } from './support/processes.js';
import { type Service, type StartOptions, up } from './support/service.js';

const mib = 2 ** 20;
/** Room for the coordinator, the worker and two executors; one batch of 64 rows wants twice as much by itself. */
const limitBytes = 640 * mib;
const mibPerRow = 20;

let dir = '';
beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'shoal-oom-'));
  await generateBenchModels(dir, ['affine']);
  await hungryModel(dir, mibPerRow);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let cluster: Service;
let view: ClusterView;
const start = async (options: StartOptions = {}): Promise<void> => {
  cluster = await up(dir, [], options);
  view = new ClusterView(cluster);
};
afterEach(async () => {
  view?.close();
  await cluster?.stop();
});

const oneCaller = (model: string, rows: number): Load =>
  new Load({ address: cluster.grpc, model, callers: 1, timeoutMs: 20_000, rows: () => rows });

const limit = MemoryLimit.make(limitBytes);
afterAll(async () => {
  if (limit instanceof MemoryLimit) await limit.remove();
});
if (typeof limit === 'string') console.warn(`No out-of-memory kill is tried: ${limit}.`);

it.skipIf(typeof limit === 'string')(
  'an executor that the kernel kills for memory costs its own batch only',
  async () => {
    if (typeof limit === 'string') return;
    await start({ through: limit.through });
    const beside = new Load({ address: cluster.grpc, model: 'affine', callers: 4, timeoutMs: 20_000 });
    const small = oneCaller('hungry', 1);
    await Promise.all([beside.answered(50), small.answered(5)]);
    expect(limit.kills).toBe(0);

    const greedy = oneCaller('hungry', 64);
    // Each of its requests is tried twice and kills an executor each time; then it is told what happened.
    const refused = await greedy.stop();
    expect(refused).toMatchObject({ sent: 1, right: 0, failures: { EXECUTOR_CRASHED: 1 } });
    expect(refused.sentences[0]).toMatch(
      /hungry\/1 #0 was killed by SIGKILL \(as the kernel does when memory runs out\)/,
    );
    expect(limit.kills).toBe(2);

    await Promise.all([beside.answered(50), small.answered(5)]);
    for (const load of [beside, small]) {
      const ledger = await load.stop();
      expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
    }
    expect(await view.restarts('hungry')).toBe(2);
    expect(await view.restarts('affine')).toBe(0);
    await view.idle();
  },
);

it('an executor that is refused memory says so for that batch and goes on', async () => {
  await start();
  const pid = (await view.held('hungry'))[0]?.instances[0]?.pid ?? 0;
  const small = oneCaller('hungry', 1);
  await small.answered(5);
  // Address space for what it has and a little more, as `ulimit -v` would allow.
  execFileSync('prlimit', [`--pid=${pid}`, `--as=${addressSpaceBytes(pid) + 200 * mib}`]);
  const refused = await oneCaller('hungry', 64).stop();
  expect(refused).toMatchObject({ sent: 1, right: 0, failures: { EXECUTION_FAILED: 1 } });
  expect(refused.sentences[0]).toMatch(/Failed to allocate memory for requested buffer/);
  await small.answered(5);
  const ledger = await small.stop();
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  expect(await view.restarts('hungry')).toBe(0);
  await view.idle();
});
