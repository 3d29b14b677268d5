import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ClusterView } from './support/cluster-view.js';
import { Load } from './support/load.js';
import { childrenOf, commandOf, killIfThere } from './support/processes.js';
import { type Repository, repository } from './support/repository.js';
import { type Service, shoal, up } from './support/service.js';

let models: Repository;
beforeAll(async () => {
  models = await repository({ slow: { doomed: 5 } });
});
afterAll(() => models.remove());

let cluster: Service;
let view: ClusterView;
let curse: NodeJS.Timeout | undefined;
afterEach(async () => {
  clearInterval(curse);
  view?.close();
  await cluster?.stop();
});

/** From now on every executor of `doomed` dies soon after it was born, as one does whose native code is broken. */
function curseDoomed(parents: () => number[]): void {
  curse = setInterval(() => {
    for (const pid of parents().flatMap(childrenOf)) {
      if (commandOf(pid).includes('doomed/1')) killIfThere(pid);
    }
  }, 20);
}

const hurry = ['--max-restarts', '3', '--restart-backoff-ms', '20'];

async function expectQuarantine(): Promise<void> {
  await eventually(async () => {
    expect((await view.models()).map(({ model, state }) => `${model} ${state}`)).toEqual([
      'affine ready',
      'doomed quarantined',
    ]);
  }, 20_000);
  const table = await shoal(['models', '--server', cluster.grpc]);
  expect(table).toMatch(/doomed +1 +quarantined .*crashed 4 times within 60 s.*killed by SIGKILL/);
  expect(table).toMatch(/affine +1 +ready/);
  expect(await view.metric('shoal_versions', 'quarantined')).toBe(1);
  // Nobody goes on starting it: the instance is down for good.
  expect((await view.held('doomed'))[0]).toMatchObject({ slots: 0, instances: [{ state: 'stopped', pid: 0 }] });
}

it('a version whose executors die while they load is quarantined; the other models serve on', async () => {
  curseDoomed(() => childrenOf(process.pid));
  cluster = await up(models.dir, hurry);
  view = new ClusterView(cluster);
  const beside = new Load({ address: cluster.grpc, model: 'affine', callers: 4, timeoutMs: 5000 });
  await expectQuarantine();
  const told = new Load({ address: cluster.grpc, model: 'doomed', callers: 4, timeoutMs: 5000 });
  await eventually(() => expect(told.ledger.failures.MODEL_NOT_READY ?? 0).toBeGreaterThan(20));
  const refused = await told.stop();
  expect(refused).toMatchObject({ right: 0, failures: { MODEL_NOT_READY: refused.sent } });
  expect(refused.sentences[0]).toMatch(/Model 'doomed' .* version 1 is quarantined .*crashed 4 times/);
  await beside.answered(100);
  const good = await beside.stop();
  expect(good).toMatchObject({ failures: {}, wrong: [], sent: good.right });
  await view.idle();
});

it('a version that begins to kill its executors is quarantined; those who wait are told at once', async () => {
  cluster = await up(models.dir, hurry);
  view = new ClusterView(cluster);
  const beside = new Load({ address: cluster.grpc, model: 'affine', callers: 4, timeoutMs: 5000 });
  const load = new Load({ address: cluster.grpc, model: 'doomed', callers: 16, timeoutMs: 60_000 });
  await Promise.all([load.answered(100), beside.answered(100)]);
  curseDoomed(() => [cluster.pid]);
  await expectQuarantine();
  await eventually(() => expect(load.ledger.failures.MODEL_NOT_READY ?? 0).toBeGreaterThan(20));
  const ledger = await load.stop();
  const { MODEL_NOT_READY = 0, EXECUTOR_CRASHED = 0, ...others } = ledger.failures;
  expect(others).toEqual({});
  expect(ledger.wrong).toEqual([]);
  expect(ledger.right + MODEL_NOT_READY + EXECUTOR_CRASHED).toBe(ledger.sent);
  await beside.answered(100);
  const good = await beside.stop();
  expect(good).toMatchObject({ failures: {}, wrong: [], sent: good.right });
  await view.idle();
});
