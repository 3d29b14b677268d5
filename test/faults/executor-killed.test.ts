import { setInterval as ticks } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ListedWorker } from '../../platform/admin/listing.js';
import { eventually } from '../support/eventually.js';
import { ClusterView } from './support/cluster-view.js';
import { Load } from './support/load.js';
import { isAlive } from './support/processes.js';
import { type Repository, repository } from './support/repository.js';
import { type Service, shoal, up } from './support/service.js';

const repositories = new Map<number, Repository>();
beforeAll(async () => {
  for (const instances of [1, 2]) repositories.set(instances, await repository({ instances, slow: { slow: 5 } }));
});
afterAll(() => {
  for (const { remove } of repositories.values()) remove();
});

let cluster: Service;
let view: ClusterView;
const start = async (instances: number, args: readonly string[] = []): Promise<void> => {
  cluster = await up(repositories.get(instances)?.dir ?? '', args);
  view = new ClusterView(cluster);
};
afterEach(async () => {
  view?.close();
  await cluster?.stop();
});

/** The process of one instance that takes batches now, or undefined. */
async function victim(model: string): Promise<number | undefined> {
  const instances = (await view.held(model)).flatMap((held) => held.instances);
  return instances.find(({ pid, state }) => pid > 0 && (state === 'busy' || state === 'idle'))?.pid;
}

describe.each([
  { instances: 2, model: 'slow' },
  { instances: 1, model: 'slow' },
  { instances: 1, model: 'affine' },
])('an executor killed under load, $model with $instances instance(s)', ({ instances, model }) => {
  it('costs no request, is started again, and says so', async () => {
    await start(instances);
    const load = new Load({ address: cluster.grpc, model, callers: 16, timeoutMs: 5000 });
    await load.answered(200);
    const pid = (await victim(model)) ?? 0;
    process.kill(pid, 'SIGKILL');
    await eventually(() => expect(isAlive(pid)).toBe(false));
    await view.serving(model, 1, instances);
    await load.answered(200);
    const ledger = await load.stop();
    expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
    await view.idle();
    expect(await view.metric('nv_inference_request_success', `model="${model}"`)).toBe(ledger.sent);
    expect(await view.metric('nv_inference_request_failure')).toBe(0);
    expect(await view.metric('shoal_executor_restarts_total', `model="${model}"`)).toBe(1);
    const said = await shoal(['workers', '--output', 'json', '--server', cluster.grpc]);
    const workers = JSON.parse(said) as ListedWorker[];
    const restarts = workers.flatMap(({ versions }) =>
      versions.filter((held) => held.model === model).flatMap((held) => held.instances.map((one) => one.restarts)),
    );
    expect(restarts.sort()).toEqual([...Array.from({ length: instances - 1 }, () => 0), 1]);
  });
});

describe.each([{ instances: 2 }, { instances: 1 }])(
  'executors killed again and again, $instances at a time',
  ({ instances }) => {
    it('cost no request whose budget outlasts the kills', async () => {
      // A batch that meets a second kill has used up its two attempts; here it may meet every one of them.
      await start(instances, ['--max-attempts', '10', '--max-restarts', '1000']);
      const load = new Load({ address: cluster.grpc, model: 'slow', callers: 16, timeoutMs: 10_000 });
      await load.answered(100);
      let kills = 0;
      for await (const _ of ticks(300)) {
        const pid = await victim('slow');
        if (pid === undefined) continue;
        process.kill(pid, 'SIGKILL');
        if (++kills === 12) break;
      }
      await view.serving('slow', 1, instances);
      await load.answered(100);
      const ledger = await load.stop();
      expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
      await view.idle();
      expect(await view.metric('nv_inference_request_success', 'model="slow"')).toBe(ledger.sent);
      expect(await view.metric('shoal_executor_restarts_total', 'model="slow"')).toBe(kills);
      expect(await view.restarts('slow')).toBe(kills);
    });
  },
);
