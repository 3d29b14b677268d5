import { setInterval as ticks } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.js';
import { eventually } from '../support/eventually.js';
import { ClusterView } from './support/cluster-view.js';
import { Load } from './support/load.js';
import { isAlive } from './support/processes.js';
import { type Repository, repository } from './support/repository.js';
import { coordinator, type Service, up, worker } from './support/service.js';

let models: Repository;
beforeAll(async () => {
  models = await repository({ slow: { slow: 5 } });
});
afterAll(() => models.remove());

let services: Service[] = [];
let view: ClusterView;
const started = (service: Service): Service => {
  services.push(service);
  return service;
};
afterEach(async () => {
  view?.close();
  // Workers first, which were started last.
  for (const service of services.reverse()) await service.stop();
  services = [];
});

const instance = async () => (await view.held('slow'))[0]?.instances[0];

it('an executor that hangs is killed by the watchdog, started again, and costs no request', async () => {
  const cluster = started(await up(models.dir, ['--batch-timeout-ms', '500']));
  view = new ClusterView(cluster);
  const load = new Load({ address: cluster.grpc, model: 'slow', callers: 16, timeoutMs: 10_000 });
  await load.answered(100);
  const pid = (await instance())?.pid ?? 0;
  process.kill(pid, 'SIGSTOP');
  await eventually(() => expect(isAlive(pid)).toBe(false));
  await load.answered(100);
  const ledger = await load.stop();
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  expect(ledger.slowestMs).toBeGreaterThan(500);
  expect(await view.restarts('slow')).toBe(1);
  await view.idle();
});

it('an executor that hangs keeps nobody past his deadline', async () => {
  const cluster = started(await up(models.dir, ['--batch-timeout-ms', '5000']));
  view = new ClusterView(cluster);
  const load = new Load({ address: cluster.grpc, model: 'slow', callers: 16, timeoutMs: 400 });
  await load.answered(100);
  const pid = (await instance())?.pid ?? 0;
  process.kill(pid, 'SIGSTOP');
  await eventually(() => expect(load.ledger.failures.DEADLINE_EXPIRED ?? 0).toBeGreaterThanOrEqual(32));
  process.kill(pid, 'SIGCONT');
  await load.answered(100);
  const ledger = await load.stop();
  const { DEADLINE_EXPIRED = 0, ...others } = ledger.failures;
  expect(others).toEqual({});
  expect(ledger.wrong).toEqual([]);
  expect(ledger.right + DEADLINE_EXPIRED).toBe(ledger.sent);
  expect(ledger.lateMs).toBeLessThan(300);
  expect(await view.restarts('slow')).toBe(0);
  await view.idle();
});

it('a whole cluster that was stopped for longer than a batch may take kills no healthy executor', async () => {
  const cluster = started(await up(models.dir, ['--batch-timeout-ms', '300']));
  view = new ClusterView(cluster);
  const load = new Load({ address: cluster.grpc, model: 'slow', callers: 16, timeoutMs: 20_000 });
  for (let round = 0; round < 3; round++) {
    await load.answered(50);
    cluster.signal('SIGSTOP');
    for await (const _ of ticks(700)) break;
    cluster.signal('SIGCONT');
  }
  await load.answered(50);
  const ledger = await load.stop();
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  expect(await view.restarts('slow')).toBe(0);
  await view.idle();
});

it('a worker that hangs loses its requests to the other one; it comes back when it goes on', async () => {
  const front = started(await coordinator());
  view = new ClusterView(front);
  const [w0] = await Promise.all(['w0', 'w1'].map(async (id) => started(await worker(front.grpc, id, models.dir))));
  await view.serving('slow', 2, 1);
  const patient = new Load({ address: front.grpc, model: 'slow', callers: 16, timeoutMs: 30_000 });
  const hasty = new Load({ address: front.grpc, model: 'slow', callers: 16, timeoutMs: 1000 });
  await Promise.all([patient.answered(100), hasty.answered(100)]);
  w0?.signal('SIGSTOP');
  const stoppedMs = systemClock.nowMs();
  await eventually(async () => expect((await view.workers())[0]?.state).not.toBe('connected'), 15_000);
  const noticedMs = systemClock.nowMs() - stoppedMs;
  await Promise.all([patient.answered(100), hasty.answered(100)]);
  w0?.signal('SIGCONT');
  await view.serving('slow', 2, 1, 40_000);
  const backMs = systemClock.nowMs() - stoppedMs - noticedMs;
  await Promise.all([patient.answered(100), hasty.answered(100)]);

  const calm = await patient.stop();
  expect(calm).toMatchObject({ failures: {}, wrong: [], sent: calm.right });
  const rushed = await hasty.stop();
  const { DEADLINE_EXPIRED = 0, ...others } = rushed.failures;
  expect(others).toEqual({});
  expect(rushed.wrong).toEqual([]);
  expect(rushed.right + DEADLINE_EXPIRED).toBe(rushed.sent);
  expect(rushed.lateMs).toBeLessThan(300);
  // At most what one instance and the one place behind it held was stuck there: two batches.
  expect(DEADLINE_EXPIRED).toBeLessThanOrEqual(32);
  await view.idle();
  console.log({ noticedMs, backMs, calm, rushed });
});
