import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import { type Random, seededRandom } from '../../core/random.js';
import { OipClient } from '../../platform/oip/client.js';
import { eventually } from '../support/eventually.js';
import { ClusterView } from './support/cluster-view.js';
import { complaint, Load, numbered } from './support/load.js';
import { wideModel } from './support/odd-models.js';
import { openDescriptors, residentBytes } from './support/processes.js';
import { framed, RawCaller } from './support/raw-caller.js';
import { type Repository, repository } from './support/repository.js';
import { type Service, up } from './support/service.js';

const mib = 2 ** 20;
let models: Repository;
beforeAll(async () => {
  models = await repository({ slow: { slow: 5 } });
  await wideModel(models.dir, 'wide');
});
afterAll(() => models.remove());

let cluster: Service;
let view: ClusterView;
let good: Load;
let random: Random;
beforeEach(async () => {
  random = seededRandom(1);
  cluster = await up(models.dir, ['--max-message-bytes', `${4 * mib}`]);
  view = new ClusterView(cluster);
  good = new Load({ address: cluster.grpc, model: 'affine', callers: 4, timeoutMs: 10_000 });
  await good.answered(50);
});
/** Whatever was done to the server: those who behave notice nothing, and in the end it has nothing left to do. */
async function expectUnharmed(): Promise<void> {
  await good.answered(50);
  const ledger = await good.stop();
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  await view.idle();
  for (const model of ['affine', 'slow', 'wide']) expect(await view.restarts(model)).toBe(0);
}
afterEach(async () => {
  view?.close();
  await good.stop();
  await cluster?.stop();
});

async function dial(address: string): Promise<Socket> {
  const [host = '', port] = address.split(':');
  const socket = connectTcp(Number(port), host);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

const doors = () => [cluster.grpc, cluster.http, cluster.metrics];

const randomBytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => random.int(256)));
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const frame = (type: number, flags: number, stream: number, body: Buffer): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
};

const garbage: readonly { readonly what: string; readonly bytes: () => Buffer }[] = [
  { what: 'random bytes', bytes: () => randomBytes(1 + random.int(4000)) },
  { what: 'zeros', bytes: () => Buffer.alloc(10_000) },
  { what: 'a TLS greeting', bytes: () => Buffer.concat([Buffer.from('160301020001000100', 'hex'), randomBytes(509)]) },
  {
    what: 'HTTP/1.1',
    bytes: () => Buffer.from('POST /v2/models/affine/infer HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n'),
  },
  { what: 'endless headers', bytes: () => Buffer.from(`GET / HTTP/1.1\r\n${'x-a: b\r\n'.repeat(20_000)}`) },
  {
    what: 'a body larger than allowed',
    bytes: () =>
      Buffer.from(
        `POST /v2/models/affine/infer HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n{`,
      ),
  },
  {
    what: 'HTTP/2 with random frames',
    bytes: () =>
      Buffer.concat([
        Buffer.from(preface),
        frame(4, 0, 0, Buffer.alloc(0)),
        ...Array.from({ length: 20 }, () =>
          frame(random.int(12), random.int(256), random.int(9), randomBytes(random.int(60))),
        ),
      ]),
  },
  {
    what: 'HTTP/2 with broken headers',
    bytes: () =>
      Buffer.concat([Buffer.from(preface), frame(4, 0, 0, Buffer.alloc(0)), frame(1, 4, 1, randomBytes(200))]),
  },
  {
    what: 'HTTP/2 with a thousand resets',
    bytes: () =>
      Buffer.concat([
        Buffer.from(preface),
        frame(4, 0, 0, Buffer.alloc(0)),
        ...Array.from({ length: 1000 }, (_, i) => frame(3, 0, 2 * i + 1, Buffer.alloc(4))),
      ]),
  },
];

/** Resolves at the server's first word, or when it hangs up. */
const answeredOrClosed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.once('data', () => resolve());
    socket.once('close', () => resolve());
  });

it('nonsense of many kinds at every door', async () => {
  for (const { what, bytes } of garbage) {
    for (const door of doors()) {
      const sockets = await Promise.all(Array.from({ length: 20 }, () => dial(door)));
      // Half of them wait for what the server says to it, the others leave at once.
      const [waiting, leaving] = [sockets.slice(0, 10), sockets.slice(10)];
      const heard = Promise.all(waiting.map(answeredOrClosed));
      for (const socket of sockets) socket.write(bytes());
      for (const socket of leaving) socket.destroy();
      for (const socket of waiting) socket.end();
      await heard;
      for (const socket of waiting) socket.destroy();
    }
    expect(good.ledger, what).toMatchObject({ failures: {}, wrong: [] });
    await good.answered(5);
  }
  await expectUnharmed();
});

it('a thousand connections that say nothing, or half a sentence', async () => {
  const descriptors = openDescriptors(cluster.pid);
  const halves = ['', preface.slice(0, 10), 'POST /v2/models/affine/infer HTTP/1.1\r\ncontent-le', 'GET /met'];
  const sockets = await Promise.all(
    Array.from({ length: 1000 }, async (_, i) => {
      const socket = await dial(doors()[i % 3] ?? '');
      socket.write(halves[i % 4] ?? '');
      return socket;
    }),
  );
  await good.answered(200);
  for (const socket of sockets) socket.destroy();
  await eventually(() => expect(openDescriptors(cluster.pid)).toBeLessThan(descriptors + 50), 10_000);
  await expectUnharmed();
});

it('a caller that never reads its answers is refused further ones, and the memory is bounded', async () => {
  const before = residentBytes(cluster.pid);
  const silent = new RawCaller(cluster.grpc, 0);
  // 500 requests of 256 KiB and their answers would be 250 MiB. One connection may hold 16, and answers to those.
  const width = (256 * 1024) / 4;
  const body = framed('wide', 1, 1, width);
  for (let n = 0; n < 500; n++) {
    silent.call(body);
    if (n % 25 === 0) await good.answered(5);
  }
  await eventually(() => expect(silent.answering + silent.refused).toBe(500), 20_000);
  expect(silent.statuses).toEqual([]);
  // 16 MiB of answers are 64; those under way when the limit is reached come on top, and the memory is what counts.
  expect(silent.open).toBeGreaterThanOrEqual(60);
  expect(silent.open).toBeLessThanOrEqual(300);
  expect(silent.refused).toBe(500 - silent.open);
  expect(residentBytes(cluster.pid) - before).toBeLessThan(300 * mib);
  silent.hangUp();
  const polite = new OipClient(cluster.grpc);
  expect(complaint(await polite.infer(numbered('wide', 7, 1, width)), 7, 1, width)).toBe('');
  polite.close();
  await expectUnharmed();
});

it.each([
  { connections: 1, model: 'affine' },
  { connections: 100, model: 'affine' },
  { connections: 1, model: 'slow' },
])('a thousand callers at once on $connections connection(s), of $model', async ({ connections, model }) => {
  const crowd = new Load({ address: cluster.grpc, model, callers: 1000, timeoutMs: 60_000, connections });
  const { sent } = crowd.ledger;
  expect(sent).toBe(1000);
  await crowd.answered(3000, 40_000);
  const ledger = await crowd.stop();
  expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
  await expectUnharmed();
});

it('callers that cancel at any moment', async () => {
  const clients = Array.from({ length: 4 }, () => new OipClient(cluster.grpc, { 'grpc.use_local_subchannel_pool': 1 }));
  let right = 0;
  let cancelled = 0;
  const others: string[] = [];
  const cancels = async (client: OipClient, n: number): Promise<void> => {
    const abort = new AbortController();
    const model = n % 2 === 0 ? 'slow' : 'affine';
    setTimeout(() => abort.abort(), random.int(40)).unref();
    try {
      const wrong = complaint(await client.infer(numbered(model, n, 1), { signal: abort.signal }), n, 1);
      if (wrong === '') right++;
      else others.push(wrong);
    } catch (thrown) {
      const { code, message } = ShoalError.from(thrown);
      if (code === 'CANCELLED') cancelled++;
      else others.push(`${code}: ${message}`);
    }
  };
  for (let round = 0; round < 40; round++) {
    await Promise.all(
      clients.flatMap((client, c) => Array.from({ length: 16 }, (_, i) => cancels(client, round * 64 + c * 16 + i))),
    );
  }
  for (const client of clients) client.close();
  expect(others).toEqual([]);
  expect(right).toBeGreaterThan(100);
  expect(cancelled).toBeGreaterThan(100);
  expect(right + cancelled).toBe(40 * 64);
  await expectUnharmed();
});

it('callers that hang up in the middle of a request, of the work, or of the answer', async () => {
  const large = framed('wide', 1, 1, (512 * 1024) / 4);
  const small = framed('slow', 1, 1, 4);
  const descriptors = openDescriptors(cluster.pid);
  for (let round = 0; round < 100; round++) {
    const caller = new RawCaller(cluster.grpc, round % 2 === 0 ? 65_535 : 1000);
    for (let i = 0; i < 8; i++) caller.call(random.int(2) === 0 ? large : small, random.int(4) > 0);
    if (round % 3 === 0) await eventually(() => expect(caller.answering).toBeGreaterThan(0));
    else await good.answered(1 + random.int(5));
    caller.hangUp();
  }
  await view.idle();
  await eventually(() => expect(openDescriptors(cluster.pid)).toBeLessThan(descriptors + 20), 10_000);
  expect(residentBytes(cluster.pid)).toBeLessThan(600 * mib);
  await expectUnharmed();
});

it('a caller that reads nothing does not hold up a drain', async () => {
  const silent = new RawCaller(cluster.grpc, 0);
  const body = framed('wide', 1, 1, (256 * 1024) / 4);
  for (let n = 0; n < 60; n++) silent.call(body);
  await eventually(() => expect(silent.answering).toBe(60), 20_000);
  await expectUnharmed();
  const startMs = systemClock.nowMs();
  // Rejects unless it exits with 0.
  await cluster.stop();
  expect(systemClock.nowMs() - startMs).toBeLessThan(10_000);
  silent.hangUp();
});
