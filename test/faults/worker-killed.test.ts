import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ClusterView } from './support/cluster-view.js';
import { Load } from './support/load.js';
import { isAlive } from './support/processes.js';
import { type Repository, repository } from './support/repository.js';
import { coordinator, type Service, worker } from './support/service.js';

let models: Repository;
beforeAll(async () => {
  models = await repository({ slow: { slow: 5 } });
});
afterAll(() => models.remove());

let front: Service;
let view: ClusterView;
const workers = new Map<string, Service>();

const join = async (workerId: string): Promise<Service> => {
  const joined = await worker(front.grpc, workerId, models.dir);
  workers.set(workerId, joined);
  return joined;
};
const start = async (): Promise<void> => {
  front = await coordinator();
  view = new ClusterView(front);
  await Promise.all(['w0', 'w1'].map(join));
  for (const model of ['slow', 'affine']) await view.serving(model, 2, 1);
};
afterEach(async () => {
  view?.close();
  for (const one of workers.values()) await one.stop();
  workers.clear();
  await front.stop();
});

it.each(['slow', 'affine'])(
  'a worker killed under load of %s costs no request and leaves no process',
  async (model) => {
    await start();
    const load = new Load({ address: front.grpc, model, callers: 16, timeoutMs: 5000 });
    await load.answered(200);
    const victim = workers.get('w0');
    const executors = victim?.executors ?? [];
    expect(executors).toHaveLength(2);
    victim?.kill();
    workers.delete('w0');
    // Its executors find out by themselves: nobody is left who could end them.
    await eventually(() => expect(executors.filter(isAlive)).toEqual([]));
    await load.answered(200);
    await eventually(async () => expect((await view.workers())[0]).toMatchObject({ workerId: 'w0', state: 'lost' }));

    await join('w0');
    await view.serving(model, 2, 1);
    await load.answered(200);
    const ledger = await load.stop();
    expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
    await view.idle();
    expect(await view.metric('nv_inference_request_success')).toBe(ledger.sent);
    expect((await view.workers()).map(({ workerId, state }) => `${workerId} ${state}`)).toEqual([
      'w0 connected',
      'w1 connected',
    ]);
  },
);

it('workers killed in turn under load, one always left, cost no request', async () => {
  await start();
  const load = new Load({ address: front.grpc, model: 'slow', callers: 16, timeoutMs: 10_000 });
  for (const workerId of ['w0', 'w1', 'w0', 'w1']) {
    await load.answered(100);
    workers.get(workerId)?.kill();
    workers.delete(workerId);
    await load.answered(100);
    await join(workerId);
    await view.serving('slow', 2, 1);
  }
  const ledger = await load.stop();
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  await view.idle();
});

it('the only worker killed and started again: requests wait for it and are answered', async () => {
  await start();
  workers.get('w1')?.signal('SIGTERM');
  await workers.get('w1')?.exited;
  workers.delete('w1');
  const load = new Load({ address: front.grpc, model: 'slow', callers: 8, timeoutMs: 20_000 });
  await load.answered(100);
  workers.get('w0')?.kill();
  workers.delete('w0');
  await join('w0');
  await load.answered(100, 20_000);
  const ledger = await load.stop();
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  await view.idle();
});

it('without any worker callers are told so once the grace period is over, and the model is back with its worker', async () => {
  front = await coordinator(['--replica-grace-ms', '300']);
  view = new ClusterView(front);
  const only = await join('w0');
  await view.serving('slow', 1, 1);
  const load = new Load({ address: front.grpc, model: 'slow', callers: 8, timeoutMs: 20_000 });
  await load.answered(50);
  only.kill();
  workers.delete('w0');
  // Eight waited; what they and their next requests are told invites them to come back.
  await eventually(() => expect(load.ledger.failures.NO_WORKER ?? 0).toBeGreaterThan(16));
  await join('w0');
  await load.answered(50);
  const ledger = await load.stop();
  expect(ledger.wrong).toEqual([]);
  const { NO_WORKER = 0, MODEL_NOT_READY = 0, ...others } = ledger.failures;
  expect(others).toEqual({});
  expect(ledger.right + NO_WORKER + MODEL_NOT_READY).toBe(ledger.sent);
});
