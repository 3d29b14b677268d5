import { setInterval as ticks } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ClusterView } from './support/cluster-view.js';
import { Load } from './support/load.js';
import { NetworkNamespace } from './support/network-namespace.js';
import { type Repository, repository } from './support/repository.js';
import { coordinator, type Service, worker } from './support/service.js';

const elsewhere = NetworkNamespace.make();
if (typeof elsewhere === 'string') console.warn(`No network is cut: ${elsewhere}.`);

let models: Repository;
beforeAll(async () => {
  models = await repository({ slow: { slow: 5 } });
});
afterAll(() => {
  models.remove();
  if (elsewhere instanceof NetworkNamespace) elsewhere.remove();
});

let front: Service;
let view: ClusterView;
let services: Service[] = [];
/** One worker on another host, and as many here as asked for. */
async function start(host: NetworkNamespace, beside: number): Promise<void> {
  front = await coordinator(['--host', host.here]);
  view = new ClusterView(front);
  const bind = ['--host', host.there];
  services = [await worker(front.grpc, 'far', models.dir, bind, { through: host.through })];
  for (let i = 0; i < beside; i++) services.push(await worker(front.grpc, `near${i}`, models.dir));
  services.push(front);
  await view.serving('slow', 1 + beside, 1);
}
afterEach(async () => {
  view?.close();
  for (const service of services) await service.stop();
});

const load = (callers: number, timeoutMs: number): Load =>
  new Load({ address: front.grpc, model: 'slow', callers, timeoutMs });
const stateOfFar = async () => (await view.workers()).find(({ workerId }) => workerId === 'far')?.state;

describe.skipIf(typeof elsewhere === 'string')('the cable to another host', () => {
  const host = elsewhere as NetworkNamespace;

  it('pulled for two seconds delays requests and loses none, even with nobody else to answer', async () => {
    await start(host, 0);
    const steady = load(8, 20_000);
    await steady.answered(50);
    host.unplug();
    for await (const _ of ticks(2000)) break;
    host.plug();
    await steady.answered(50);
    const ledger = await steady.stop();
    expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
    await view.idle();
  });

  it('pulled for long: the other worker answers whoever has budget, the rest are told in time; mended, it is back', async () => {
    await start(host, 1);
    const patient = load(16, 40_000);
    const hasty = load(16, 1000);
    await Promise.all([patient.answered(100), hasty.answered(100)]);
    host.unplug();
    await eventually(async () => expect(await stateOfFar()).not.toBe('connected'), 20_000);
    await Promise.all([patient.answered(100), hasty.answered(100)]);
    host.plug();
    await view.serving('slow', 2, 1, 30_000);
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
  });
});
