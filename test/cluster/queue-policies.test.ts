import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateSlowModel } from '../../bench/models/generate.js';
import { systemClock } from '../../core/clock.js';
import type { ErrorCode, ShoalError } from '../../core/errors.js';
import type { Parameters } from '../../core/inference.js';
import { AdminClient } from '../../platform/admin/client.js';
import type { ListedExplanation } from '../../platform/admin/explanation.js';
import { OipClient } from '../../platform/oip/client.js';
import { eventually } from '../support/eventually.js';
import { inferRequest } from '../support/oip-callers.js';
import { type Cluster, ShoalGround } from '../support/shoal-ground.js';

interface Declared {
  readonly milliseconds: number;
  readonly maxBatch: number;
  /** What stands between the braces of `dynamic_batching`. */
  readonly batching?: string;
  readonly parameters?: string;
}

const strictLevels = 'priority_levels: 2 default_priority_level: 2';
const strict = 'parameters { key: "priority_mode" value: { string_value: "strict" } }';
const models: Readonly<Record<string, Declared>> = {
  urgent: { milliseconds: 20, maxBatch: 1, batching: strictLevels, parameters: strict },
  ordered: { milliseconds: 20, maxBatch: 1, batching: 'preserve_ordering: true' },
  short: { milliseconds: 30, maxBatch: 1, batching: 'default_queue_policy { max_queue_size: 3 }' },
  impatient: {
    milliseconds: 60,
    maxBatch: 1,
    batching: 'default_queue_policy { default_timeout_microseconds: 60000 timeout_action: REJECT }',
  },
  shared: { milliseconds: 15, maxBatch: 4 },
  left: { milliseconds: 20, maxBatch: 1 },
  right: { milliseconds: 20, maxBatch: 1 },
};

async function writeModel(dir: string, name: string, declared: Declared): Promise<void> {
  await generateSlowModel(dir, { name, milliseconds: declared.milliseconds });
  const file = path.join(dir, name, 'config.pbtxt');
  const config = (await readFile(file, 'utf8'))
    .replace(/max_batch_size: \d+/, `max_batch_size: ${declared.maxBatch}`)
    .replace(/dynamic_batching .*/, `dynamic_batching { ${declared.batching ?? ''} }`);
  await writeFile(file, `${config}${declared.parameters ?? ''}\n`);
}

let ground: ShoalGround;
let cluster: Cluster;
let client: OipClient;
let admin: AdminClient;
beforeAll(async () => {
  ground = await ShoalGround.open();
  const repository = path.join(ground.folder, 'models');
  for (const [name, declared] of Object.entries(models)) await writeModel(repository, name, declared);
  cluster = await ground.up({
    models: repository,
    flags: ['--device-concurrency', '1', '--caller-weights', 'gold=3'],
  });
  client = new OipClient(cluster.grpc);
  admin = new AdminClient(cluster.grpc);
});
afterAll(async () => {
  client.close();
  admin.close();
  await ground.close();
});

interface Told {
  readonly name: string;
  readonly code: ErrorCode | 'OK';
  readonly retryAfterMs: number | undefined;
  /** From sending to the answer. */
  readonly elapsedMs: number;
  readonly atMs: number;
  readonly queueUs: number;
  readonly executeUs: number;
}

interface Question {
  readonly name?: string;
  readonly caller?: string;
  readonly parameters?: Parameters;
}

/** One row to a model, and what became of it; `order` gets it when it is known. */
async function ask(model: string, order: Told[], { name = '', caller = '', parameters = {} }: Question = {}) {
  const input = { name: 'x', datatype: 'FP32', shape: [1, 4], data: new Uint8Array(16) } as const;
  const request = inferRequest(model, [input], { parameters: { shoal_timing: true, ...parameters } });
  const metadata: Record<string, string> = caller === '' ? {} : { 'x-shoal-caller': caller };
  const sentMs = systemClock.nowMs();
  const outcome = await client.infer(request, { metadata }).then(
    ({ parameters: told }) => ({
      code: 'OK' as const,
      retryAfterMs: undefined,
      queueUs: Number(told.shoal_queue_us),
      executeUs: Number(told.shoal_execute_us),
    }),
    ({ code, retryAfterMs }: ShoalError) => ({ code, retryAfterMs, queueUs: 0, executeUs: 0 }),
  );
  const atMs = systemClock.nowMs();
  const told: Told = { name, ...outcome, atMs, elapsedMs: atMs - sentMs };
  order.push(told);
  return told;
}

const asks = (model: string, order: Told[], count: number, question: Question = {}): Promise<Told>[] =>
  Array.from({ length: count }, () => ask(model, order, question));

/** Waits until so many requests for a model are queued. */
const queued = (model: string, requests: number): Promise<void> =>
  eventually(async () => {
    const version = (await admin.listModels()).find((listed) => listed.model === model);
    if ((version?.queuedRows ?? 0) < requests) throw new Error(`${model} has ${version?.queuedRows} rows queued.`);
  });

const names = (order: readonly Told[]): string[] => order.map(({ name }) => name);
const codes = (told: readonly Told[]): string[] => [...new Set(told.map(({ code }) => code))].sort();

describe('priorities', () => {
  test('strict: whoever is urgent passes all who wait', async () => {
    const order: Told[] = [];
    const low = asks('urgent', order, 10, { name: 'low' });
    await queued('urgent', 6);
    const high = asks('urgent', order, 3, { name: 'high', parameters: { priority: 1 } });
    const told = await Promise.all([...low, ...high]);
    expect(codes(told)).toEqual(['OK']);
    // The batch that runs and the one behind it cannot be overtaken; nor what was served while these were sent.
    expect(names(order).lastIndexOf('high')).toBeLessThan(names(order).length - 3);
  });

  test('a priority that is no number is refused with a sentence', async () => {
    expect(await ask('urgent', [], { parameters: { priority: 'high' } })).toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

test('preserve_ordering: fair shares decide who is executed first, but nobody is answered out of turn', async () => {
  const order: Told[] = [];
  const flood = Array.from({ length: 8 }, (_, i) => ask('ordered', order, { name: `flood ${i}`, caller: 'flood' }));
  await queued('ordered', 4);
  const quiet = await ask('ordered', order, { name: 'quiet', caller: 'quiet' });
  await Promise.all(flood);
  expect(names(order)).toEqual([...Array.from({ length: 8 }, (_, i) => `flood ${i}`), 'quiet']);
  // It was done well before it could be answered.
  expect(quiet.elapsedMs).toBeGreaterThan((quiet.queueUs + quiet.executeUs) / 1000 + 15);
});

describe('queue policies', () => {
  test('max_queue_size: who comes when so many wait is refused at once, with a time to come back', async () => {
    const order: Told[] = [];
    const told = await Promise.all(asks('short', order, 12));
    const refused = told.filter(({ code }) => code !== 'OK');
    expect(codes(refused)).toEqual(['QUEUE_FULL']);
    expect(refused.every(({ retryAfterMs = 0 }) => retryAfterMs > 0)).toBe(true);
    // One runs, one may be behind it, three wait; some may have come after the first was done.
    const answered = told.length - refused.length;
    expect(answered).toBeGreaterThanOrEqual(3);
    expect(answered).toBeLessThanOrEqual(7);
    expect(order.slice(0, refused.length).every(({ code }) => code === 'QUEUE_FULL')).toBe(true);
  });

  test('default_timeout: who has waited for so long is told so, and not executed', async () => {
    const told = await Promise.all(asks('impatient', [], 10));
    expect(codes(told)).toEqual(['OK', 'QUEUE_TIMEOUT']);
    const timedOut = told.filter(({ code }) => code === 'QUEUE_TIMEOUT');
    expect(timedOut.length).toBeGreaterThanOrEqual(4);
    for (const { elapsedMs } of timedOut) expect(elapsedMs).toBeGreaterThanOrEqual(59);
    expect(Math.min(...timedOut.map(({ elapsedMs }) => elapsedMs))).toBeLessThan(200);
    const [explained] = await admin.explainModel('impatient', '');
    expect(explained).toMatchObject({ timedOut: timedOut.length });
  });
});

test('a deadline that cannot be met is refused at once, not when it has passed', async () => {
  const order: Told[] = [];
  // Without a measurement somebody has to be tried.
  await ask('left', order);
  const backlog = asks('left', order, 15);
  await queued('left', 8);
  // About 15 executions of 20 ms are ahead: 60 ms cannot be enough.
  const told = await ask('left', order, { parameters: { timeout: 60_000n } });
  expect(told).toMatchObject({ code: 'DEADLINE_INFEASIBLE' });
  expect(told.elapsedMs).toBeLessThan(50);
  expect(told.retryAfterMs).toBeGreaterThan(0);
  expect(codes(await Promise.all(backlog))).toEqual(['OK']);
  const [explained] = await admin.explainModel('left', '');
  expect(explained).toMatchObject({ refused: 1, expired: 0 });
});

describe('shares', () => {
  test("a flood of one caller's does not keep another waiting", async () => {
    const order: Told[] = [];
    const flood = asks('shared', order, 240, { name: 'flood', caller: 'flood' });
    await queued('shared', 100);
    const before = order.length;
    for (let i = 0; i < 5; i++) await ask('shared', order, { name: 'quiet', caller: 'quiet' });
    // Each waits for what is bound, at the most two batches, and its own; one batch more may end between them.
    expect(order.length - before).toBeLessThanOrEqual(5 * 4 * 4 + 5);
    expect(codes(await Promise.all(flood))).toEqual(['OK']);
  });

  test('--caller-weights: three rows of gold for each of another', async () => {
    const order: Told[] = [];
    const first = asks('shared', order, 12, { name: 'first', caller: 'first' });
    const both = Array.from({ length: 40 }, () => [
      ask('shared', order, { name: 'gold', caller: 'gold' }),
      ask('shared', order, { name: 'plain', caller: 'plain' }),
    ]).flat();
    await Promise.all([...first, ...both]);
    const rivals = names(order).filter((name) => name !== 'first');
    // Of 32 answers 24 should be gold's; what left before all were there may be off by a batch or two.
    const gold = rivals.slice(0, 32).filter((name) => name === 'gold').length;
    expect(gold).toBeGreaterThanOrEqual(19);
    expect(gold).toBeLessThanOrEqual(28);
  });
});

test('--device-concurrency 1: two models take turns on the device and never share it', async () => {
  const order: Told[] = [];
  const startMs = systemClock.nowMs();
  const told = await Promise.all([
    ...asks('left', order, 8, { name: 'left' }),
    ...asks('right', order, 8, { name: 'right' }),
  ]);
  expect(codes(told)).toEqual(['OK']);
  const lastMs = Math.max(...told.map(({ atMs }) => atMs));
  const executedMs = told.reduce((sum, { executeUs }) => sum + executeUs / 1000, 0);
  expect(executedMs).toBeGreaterThan(50);
  // Side by side they would take little more than half of it.
  expect(lastMs - startMs).toBeGreaterThan(0.95 * executedMs);
  const halfway = names(order).slice(0, 8);
  expect(halfway.filter((name) => name === 'left').length).toBeGreaterThanOrEqual(2);
  expect(halfway.filter((name) => name === 'right').length).toBeGreaterThanOrEqual(2);
});

describe('shoal model explain', () => {
  const explain = (...args: string[]) => ground.run(['model', 'explain', ...args, '--server', cluster.grpc]);

  test('tells in a table why batches were closed, and gives a hint', async () => {
    await Promise.all(asks('shared', [], 20, { caller: 'somebody' }));
    const { code, stdout, stderr } = await explain('shared');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(
      /^shared version 1, ready: \d+ batches of \d\.\d rows on average \(at most 4 rows\)\.\n\n→ \S/,
    );
    expect(stdout).toMatch(/CLOSED BECAUSE +BATCHES +SHARE +MEAN ROWS/);
    expect(stdout).toMatch(/full +\d+ +\d+ % +4\.0/);
    expect(stdout).toMatch(/ROWS ON CPU +MS +ROWS\/S/);
  });

  test('tells the same as JSON', async () => {
    const { code, stdout, stderr } = await explain('shared', '--output', 'json');
    expect([code, stderr]).toEqual([0, '']);
    const [told] = JSON.parse(stdout) as ListedExplanation[];
    expect(told).toMatchObject({ model: 'shared', version: '1', state: 'ready', maxBatchSize: 4 });
    expect(told?.closes.map(({ reason }) => reason)).toContain('full');
    const rows = told?.closes.reduce((sum, close) => sum + close.rows, 0) ?? 0;
    expect(rows).toBeGreaterThanOrEqual(240 + 5 + 92 + 20);
    expect(told?.hint).not.toBe('');
  });

  test('does not know a model that is not there', async () => {
    const { code, stderr } = await explain('nobody');
    expect(code).not.toBe(0);
    expect(stderr).toContain('nobody');
  });
});
