import { setInterval as ticks } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ClusterView } from './support/cluster-view.js';
import { type Ledger, Load } from './support/load.js';
import { type Repository, repository } from './support/repository.js';
import { coordinator, type Service, worker } from './support/service.js';
import { TcpProxy } from './support/tcp-proxy.js';

let models: Repository;
beforeAll(async () => {
  models = await repository({ slow: { slow: 5 } });
});
afterAll(() => models.remove());

let front: Service;
let view: ClusterView;
const workers: Service[] = [];
const proxies: TcpProxy[] = [];

/** Workers that the coordinator reaches through a proxy: it listens under the port of the worker on another address. */
async function start(count: number, flags: readonly string[] = []): Promise<void> {
  front = await coordinator(flags);
  view = new ClusterView(front);
  for (let i = 0; i < count; i++) {
    const joined = await worker(front.grpc, `w${i}`, models.dir, ['--advertise', '127.0.0.2']);
    workers.push(joined);
    const port = Number(joined.link.split(':')[1]);
    proxies.push(await TcpProxy.between({ host: '127.0.0.2', port }, { host: '127.0.0.1', port }));
  }
  await view.serving('slow', count, 1);
}
afterEach(async () => {
  view?.close();
  for (const one of [...workers.splice(0), front]) await one.stop();
  for (const proxy of proxies.splice(0)) await proxy.end();
});

const load = (callers: number, timeoutMs: number): Load =>
  new Load({ address: front.grpc, model: 'slow', callers, timeoutMs });

async function expectAllRight(ledger: Ledger): Promise<void> {
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  await view.idle();
  expect(await view.metric('nv_inference_request_success')).toBe(ledger.sent);
  expect(await view.metric('nv_inference_request_failure')).toBe(0);
}

const states = async (): Promise<string[]> => (await view.workers()).map(({ state }) => state);

it('a link that is cut costs no request and is made again', async () => {
  await start(2);
  const steady = load(16, 5000);
  await steady.answered(100);
  const before = proxies[0]?.connections ?? 0;
  proxies[0]?.cut();
  await eventually(() => expect(proxies[0]?.connections).toBeGreaterThan(before));
  await view.serving('slow', 2, 1);
  await steady.answered(100);
  await expectAllRight(await steady.stop());
});

it('links that are cut in turn, again and again, lose and double nothing', async () => {
  // A batch that meets a second cut has used up its two attempts; here it may meet several.
  await start(2, ['--max-attempts', '10']);
  const steady = load(16, 10_000);
  let cuts = 0;
  for await (const _ of ticks(150)) {
    proxies[cuts % 2]?.cut();
    if (++cuts === 20) break;
  }
  await view.serving('slow', 2, 1);
  await steady.answered(100);
  await expectAllRight(await steady.stop());
});

it('requests wait for the only worker while its link is down, and the coordinator does not hammer on it', async () => {
  await start(1);
  const steady = load(16, 20_000);
  await steady.answered(100);
  await proxies[0]?.become('refusing');
  await eventually(async () => expect(await states()).toEqual(['lost']));
  const [lost] = await view.workers();
  expect(lost?.reason).not.toBe('');
  await proxies[0]?.become('open');
  await view.serving('slow', 1, 1);
  await steady.answered(100);
  await expectAllRight(await steady.stop());
});

it('tries to connect ever less often, and leaves no connection over', async () => {
  await start(1);
  const [proxy] = proxies;
  const before = proxy?.connections ?? 0;
  await proxy?.become('resetting');
  for await (const _ of ticks(3000)) break;
  const tries = (proxy?.connections ?? 0) - before;
  await proxy?.become('open');
  expect(tries).toBeGreaterThanOrEqual(2);
  expect(tries).toBeLessThan(40);
  await view.serving('slow', 1, 1);
  await eventually(() => expect(proxy?.open).toBe(1), 15_000);
});

it('a link that falls silent: those with budget are answered by the other worker, the others told at their deadline', async () => {
  await start(2);
  const patient = load(16, 30_000);
  const hasty = load(16, 1000);
  await Promise.all([patient.answered(100), hasty.answered(100)]);
  await proxies[0]?.become('silent');
  await eventually(async () => expect((await states())[0]).not.toBe('connected'), 15_000);
  await Promise.all([patient.answered(100), hasty.answered(100)]);
  // What lay in the pipe arrives now, late: at a session that is over.
  await proxies[0]?.become('open');
  await view.serving('slow', 2, 1, 40_000);
  await Promise.all([patient.answered(100), hasty.answered(100)]);

  const calm = await patient.stop();
  expect(calm).toMatchObject({ failures: {}, wrong: [], sent: calm.right });
  const rushed = await hasty.stop();
  const { DEADLINE_EXPIRED = 0, ...others } = rushed.failures;
  expect(others).toEqual({});
  expect(rushed.wrong).toEqual([]);
  expect(rushed.right + DEADLINE_EXPIRED).toBe(rushed.sent);
  expect(rushed.lateMs).toBeLessThan(300);
  expect(DEADLINE_EXPIRED).toBeLessThanOrEqual(32);
  await view.idle();
  expect(await view.metric('nv_inference_request_success')).toBe(calm.right + rushed.right);
  expect(await view.metric('nv_inference_request_failure')).toBe(DEADLINE_EXPIRED);
});
