import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { generateSlowModel } from '../../bench/models/generate.js';
import { seededRandom } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { AdminClient } from '../../platform/admin/client.js';
import { OipClient } from '../../platform/oip/client.js';
import { eventually } from '../support/eventually.js';
import { HttpCaller } from '../support/http-caller.js';
import { inferRequest } from '../support/oip-callers.js';
import { probeRepository } from '../support/probe-repository.js';
import { elementsOf } from '../support/recorded-vectors.js';
import { connected, ShoalGround } from '../support/shoal-ground.js';
import { SteadyLoad } from '../support/steady-load.js';

let ground: ShoalGround;
let models: string;
beforeEach(async () => {
  ground = await ShoalGround.open();
  models = path.join(ground.folder, 'models');
});
afterEach(() => ground.close());

const batchRows = 64;
/** Of one batch of `slow`; longer, and warming it up would take most of the test. */
const slowMs = 60;

/** A whole batch for the model `slow` (y = 2x + 1), so that requests run one after the other. */
function slowBatch(index: number): Tensor {
  const values = new Float32Array(batchRows * 4).fill(index);
  return { name: 'x', datatype: 'FP32', shape: [batchRows, 4], data: new Uint8Array(values.buffer) };
}

/** Sends batches to `slow` and resolves, with most of their answers still to come, when the coordinator has accepted all. */
async function inFlight(grpc: string, count: number): Promise<{ answers: Promise<number>[]; close: () => void }> {
  const client = new OipClient(grpc);
  const admin = new AdminClient(grpc);
  let answered = 0;
  const answers = Array.from({ length: count }, async (_, index) => {
    const { outputs } = await client.infer(inferRequest('slow', [slowBatch(index)]));
    const values = outputs[0] === undefined ? [] : elementsOf(outputs[0]);
    expect(values).toEqual(new Array(batchRows * 4).fill(2 * index + 1));
    answered++;
    return index;
  });
  // Whoever fails is looked at by the test, later.
  for (const answer of answers) answer.catch(() => undefined);
  await eventually(async () => {
    // Against the stream: what moves on between two looks is missed for now, and never counted twice.
    const done = answered;
    const [worker] = await admin.listWorkers();
    const [version] = await admin.listModels();
    const accepted = done + (worker?.batchesInFlight ?? 0) + (version?.queuedRows ?? 0) / batchRows;
    if (accepted < count) throw new Error(`${accepted} of ${count} requests were accepted`);
  });
  return {
    answers,
    close: () => {
      client.close();
      admin.close();
    },
  };
}

describe('shoal up drains', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    'at %s: what was accepted is answered, what is new is refused',
    async (signal) => {
      await generateSlowModel(models, { milliseconds: slowMs });
      // However slow the machine is: what ends this drain shall be its last answer.
      const cluster = await ground.up({ models, flags: ['--drain-grace-ms', '60000'] });
      const stranger = new OipClient(cluster.grpc);
      await stranger.connected(5000);
      const http = new HttpCaller(cluster.http);
      expect((await http.send('GET', '/v2/health/ready')).status).toBe(200);
      const { answers, close } = await inFlight(cluster.grpc, 20);

      const stopped = cluster.stop(signal);
      await eventually(async () => expect(await stranger.serverReady()).toBe(false));
      await expect(stranger.infer(inferRequest('slow', [slowBatch(0)]))).rejects.toMatchObject({
        code: 'DRAINING',
        cause: expect.objectContaining({ code: 14 }),
        message: expect.stringMatching(/^This coordinator is shutting down and takes no new requests\. Retry/),
      });
      const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }] };
      const refused = await http.send('POST', '/v2/models/slow/infer', JSON.stringify(body));
      expect(refused.status).toBe(503);
      expect(JSON.parse(refused.text)).toMatchObject({ code: 'DRAINING' });
      expect((await http.send('GET', '/v2/health/ready')).status).not.toBe(200);

      expect(await Promise.all(answers)).toEqual(Array.from({ length: 20 }, (_, index) => index));
      await stopped;
      await expect(stranger.infer(inferRequest('slow', [slowBatch(0)]))).rejects.toMatchObject({
        cause: expect.objectContaining({ code: 14 }),
      });
      close();
      stranger.close();
      http.close();
    },
  );

  test('within its grace: what takes longer is told so, and the process still ends well', async () => {
    await generateSlowModel(models, { milliseconds: slowMs });
    const cluster = await ground.up({ models, flags: ['--drain-grace-ms', '300'] });
    const { answers, close } = await inFlight(cluster.grpc, 40);
    await cluster.stop();
    const outcomes = await Promise.allSettled(answers);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected').map(({ reason }) => reason);
    expect(refused.length).toBeGreaterThan(0);
    for (const reason of refused) expect(reason).toMatchObject({ code: 'DRAINING' });
    close();
  });

  test('until a second Ctrl-C ends it at once, executors and all', async () => {
    await generateSlowModel(models, { milliseconds: slowMs });
    const cluster = await ground.up({ models });
    const { answers, close } = await inFlight(cluster.grpc, 60);
    cluster.signal('SIGINT');
    await cluster.printed(/Draining: finishing what was accepted/);
    // Two signals within 300 ms may be the same key, so it takes one that comes later.
    await eventually(() => {
      cluster.signal('SIGINT');
      expect(cluster.ending).toEqual({ code: 130, signal: null });
    });
    for (const outcome of await Promise.allSettled(answers)) {
      if (outcome.status === 'rejected')
        expect(outcome.reason).toMatchObject({ cause: expect.objectContaining({ code: 14 }) });
    }
    close();
  });
});

describe('workers come and go', () => {
  test('one that joins later is used, without an error before or after', async () => {
    await probeRepository(models, ['wide']);
    const coordinator = await ground.coordinator();
    const client = new OipClient(coordinator.grpc);
    expect(await client.serverReady()).toBe(false);
    const input: Tensor = { name: 'x', datatype: 'FP32', shape: [1, 4], data: new Uint8Array(16) };
    await expect(client.infer(inferRequest('wide', [input]))).rejects.toMatchObject({ code: 'NO_WORKER' });
    client.close();

    await ground.worker('first', [coordinator.grpc], { models });
    const load = new SteadyLoad(coordinator.grpc, seededRandom(3));
    await load.answers(100, 'first');
    await ground.worker('late', [coordinator.grpc], { models });
    await load.answers(200, 'late');
    await load.answers(200, 'first');
    expect((await load.stop()).complaints).toEqual([]);
  });

  test('each of two is restarted under load with SIGTERM: no request notices', async () => {
    await probeRepository(models, ['wide']);
    const coordinator = await ground.coordinator();
    const join = [coordinator.grpc];
    const [a, b] = await Promise.all([ground.worker('a', join, { models }), ground.worker('b', join, { models })]);
    const load = new SteadyLoad(coordinator.grpc, seededRandom(4));
    await load.answers(300, 'a');
    await a.stop();
    await load.answers(300, 'b');
    await ground.worker('a', join, { models });
    await load.answers(300, 'a');
    await b.stop();
    await load.answers(300, 'a');
    await ground.worker('b', join, { models });
    await load.answers(300, 'b');
    const { answered, complaints } = await load.stop();
    expect(complaints).toEqual([]);
    expect(answered).toBeGreaterThan(1500);
  });

  test('the only one is restarted: who asks meanwhile waits and is answered', async () => {
    await probeRepository(models, ['wide']);
    const coordinator = await ground.coordinator({ flags: ['--replica-grace-ms', '30000'] });
    const only = await ground.worker('only', [coordinator.grpc], { models });
    const load = new SteadyLoad(coordinator.grpc, seededRandom(5));
    await load.answers(100);
    await only.stop();
    await ground.worker('only', [coordinator.grpc], { models });
    await load.answers(300);
    expect((await load.stop()).complaints).toEqual([]);
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'a coordinator is ended with %s and started again: its workers come back by themselves, as they are',
    async (signal) => {
      await probeRepository(models, ['wide']);
      const first = await ground.coordinator();
      const join = [first.grpc];
      await Promise.all([ground.worker('a', join, { models }), ground.worker('b', join, { models })]);
      const executors = await executorPids(first.grpc);
      expect(executors).toHaveLength(2);

      if (signal === 'SIGTERM') await first.stop();
      else await first.kill();
      const second = await ground.coordinator({}, Number(first.grpc.split(':').at(-1)));
      await Promise.all(['a', 'b'].map((id) => connected(second.grpc, id)));
      expect(await executorPids(second.grpc)).toEqual(executors);
      const load = new SteadyLoad(second.grpc, seededRandom(6));
      await load.answers(100, 'a');
      await load.answers(100, 'b');
      expect((await load.stop()).complaints).toEqual([]);
    },
  );

  test('a worker that serves two coordinators answers the callers of both', async () => {
    await probeRepository(models, ['wide']);
    const [north, south] = await Promise.all([ground.coordinator(), ground.coordinator()]);
    await ground.worker('shared', [north.grpc, south.grpc], { models });
    const loads = [north, south].map(({ grpc }, index) => new SteadyLoad(grpc, seededRandom(7 + index)));
    await Promise.all(loads.map((load) => load.answers(300)));
    // One of the two leaves in the midst of it; the other's callers must not notice.
    const [ofNorth, ofSouth] = loads as [SteadyLoad, SteadyLoad];
    expect((await ofNorth.stop()).complaints).toEqual([]);
    await north.kill();
    await ofSouth.answers(300);
    expect((await ofSouth.stop()).complaints).toEqual([]);
  });
});

/** Of every instance that this coordinator knows of, in ascending order. */
async function executorPids(grpc: string): Promise<number[]> {
  const admin = new AdminClient(grpc);
  const workers = await admin.listWorkers();
  admin.close();
  return workers
    .flatMap(({ versions }) => versions.flatMap(({ instances }) => instances.map(({ pid }) => pid)))
    .sort((one, other) => one - other);
}
