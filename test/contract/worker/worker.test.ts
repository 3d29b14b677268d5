import { appendFileSync, cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { generateBenchModels, generateSlowModel } from '../../../bench/models/generate.js';
import { generateMaskedModel } from '../../../bench/models/masked.js';
import type { ToCoordinator } from '../../../core/link.js';
import { naturalBatching } from '../../../core/model.js';
import type { Worker, WorkerOptions } from '../../../worker/worker.js';
import { examples, fixtures, floats, floatsOf, isAlive, Listener, planFor, startWorker, until } from './harness.js';

let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-worker-'));
  await generateBenchModels(path.join(folder, 'probes'), ['affine', 'neighbour', 'bytes']);
  await generateSlowModel(path.join(folder, 'slow'), { name: 'slow', milliseconds: 150 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const workers: Worker[] = [];
const start = async (options: Partial<WorkerOptions> & { repositories: readonly string[] }): Promise<Worker> => {
  const worker = await startWorker(options);
  workers.push(worker);
  return worker;
};
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.drain(0)));
});

const pidsOf = (worker: Worker): number[] =>
  worker.statuses().flatMap(({ instances }) => instances.map(({ pid }) => pid));

const input = (values: readonly number[]) => [floats('x', [values.length / 4, 4], values)];

function answerOf(message: ToCoordinator): number[] {
  if (message.kind !== 'result') throw new Error(JSON.stringify(message));
  return floatsOf(message.result.outputs[0]);
}

const failureOf = (message: ToCoordinator) => (message.kind === 'failure' ? message.failure : undefined);

describe('a worker over a repository', () => {
  it('greets with a snapshot, announces every version, and serves the good beside the bad', async () => {
    const repository = path.join(folder, 'mixed');
    cpSync(path.join(examples, 'models'), repository, { recursive: true });
    cpSync(path.join(folder, 'probes'), repository, { recursive: true });
    mkdirSync(path.join(repository, 'broken/1'), { recursive: true });
    cpSync(path.join(fixtures, 'broken/supres.onnx'), path.join(repository, 'broken/1/model.onnx'));
    const worker = await start({ repositories: [repository] });
    const listener = new Listener(worker);
    await worker.settled();
    await until('the snapshot', () => listener.messages.length > 0);
    expect(listener.messages[0]).toMatchObject({ kind: 'hello', worker: { workerId: 'w1', devices: ['cpu'] } });
    expect(listener.messages.filter(({ kind }) => kind === 'hello')).toHaveLength(1);

    const state = (key: string) => listener.versions.get(key);
    expect(state('magika/2')).toMatchObject({ state: 'ready', slots: 1 });
    expect(state('magika/1')).toMatchObject({ state: 'ready', slots: 1 });
    expect(state('mnist/1')).toMatchObject({ state: 'ready', spec: { maxBatchSize: 0 } });
    expect(state('broken/1')).toMatchObject({ state: 'unavailable', slots: 0 });
    expect(state('broken/1')?.reason).toMatch(/cannot load the model .*SuperResolutionPreProcess/);
    expect(state('neighbour/1')?.state).toBe('unavailable');
    expect(state('neighbour/1')?.reason).toMatch(
      /declares max_batch_size 64, but rows of one batch are not independent: the output "y" of a row changes with its neighbour/,
    );
    expect(state('bytes/1')?.state).toBe('ready');

    const answer = await listener.execute({ model: 'affine', rows: 2, inputs: input([1, 2, 3, 4, 5, 6, 7, 8]) });
    expect(answerOf(answer)).toEqual([3, 5, 7, 9, 11, 13, 15, 17]);
    expect(answer).toMatchObject({ result: { instance: 'w1:affine/1#0' } });
    const { timing } = answer.kind === 'result' ? answer.result : { timing: undefined };
    for (const us of Object.values(timing ?? { none: -1 })) expect(us).toBeGreaterThanOrEqual(0);
  });

  it('serves without batching what would mix rows, when batching was only inferred', async () => {
    const worker = await start({ repositories: [] });
    const batching = { ...naturalBatching, maxQueueDelayUs: 500, priorityLevels: 2, defaultPriorityLevel: 1 };
    await worker.loadVersion(planFor(path.join(folder, 'probes/neighbour/1/model.onnx'), { batching }));
    const [status] = worker.statuses();
    // Requests that run one by one still wait in a queue, and by priority.
    const expected = { ...batching, maxQueueDelayUs: 0 };
    expect(status).toMatchObject({ state: 'ready', spec: { maxBatchSize: 0, batching: expected } });
    expect(status?.reason).toMatch(/^Served without batching, because rows of one batch are not independent: /);
    await worker.loadVersion(planFor(path.join(folder, 'probes/affine/1/model.onnx')));
    expect(worker.statuses()).toMatchObject([{ state: 'ready', reason: '', spec: { maxBatchSize: 32 } }]);
  });

  it('follows its repository: loads what is new, unloads what is gone, tries again what failed', async () => {
    const repository = path.join(folder, 'living');
    cpSync(path.join(folder, 'probes/affine'), path.join(repository, 'affine'), { recursive: true });
    appendFileSync(path.join(repository, 'affine/config.pbtxt'), '\nversion_policy { all {} }\n');
    const worker = await start({ repositories: [repository] });
    const listener = new Listener(worker);
    await worker.settled();
    await until('hello', () => listener.versions.get('affine/1')?.state === 'ready');
    const before = pidsOf(worker);
    cpSync(path.join(repository, 'affine/1'), path.join(repository, 'affine/2'), { recursive: true });
    mkdirSync(path.join(repository, 'affine/3'));
    writeFileSync(path.join(repository, 'affine/3/model.onnx'), 'rubbish');
    await worker.reload();
    await worker.settled();
    expect(listener.versions.get('affine/2')?.state).toBe('ready');
    expect(listener.versions.get('affine/3')?.state).toBe('unavailable');
    expect(pidsOf(worker).filter((pid) => before.includes(pid))).toEqual(before);

    rmSync(path.join(repository, 'affine/1'), { recursive: true });
    cpSync(path.join(repository, 'affine/2/model.onnx'), path.join(repository, 'affine/3/model.onnx'));
    await worker.reload();
    await worker.settled();
    expect([...listener.versions.keys()].sort()).toEqual(['affine/2', 'affine/3']);
    expect(listener.versions.get('affine/3')?.state).toBe('ready');
    for (const pid of before) expect(isAlive(pid)).toBe(false);
    const gone = await listener.execute({ model: 'affine', rows: 1, inputs: input([1, 1, 1, 1]) });
    expect(failureOf(gone)).toMatchObject({ error: { code: 'MODEL_NOT_READY' }, retryable: true });
  });

  it('says why an unplaceable or vanished model is unavailable', async () => {
    const worker = await start({ repositories: [] });
    const modelPath = path.join(folder, 'probes/affine/1/model.onnx');
    await worker.loadVersion(planFor(modelPath, { instanceGroups: [{ kind: 'gpu', count: 1, gpus: [] }] }));
    expect(worker.statuses()).toMatchObject([
      { state: 'unavailable', reason: expect.stringContaining('asks for a GPU (KIND_GPU); this worker has cpu.') },
    ]);
    await worker.loadVersion(planFor(path.join(folder, 'nowhere.onnx')));
    expect(worker.statuses()).toMatchObject([
      { state: 'unavailable', reason: expect.stringContaining('nowhere.onnx') },
    ]);
  });
});

describe('declared padding', () => {
  const sequences = { sequence_buckets: '8,64', sequence_axes: 'x:1=9,mask:1=0,tokens:1' };

  it.each([
    ['changes nothing where the model masks it', sequences, ''],
    [
      'that the mask does not hide is told, and served as declared',
      { ...sequences, sequence_axes: 'x:1=9,mask:1=1,tokens:1' },
      `Padding, which 'sequence_axes' declares harmless, changes answers: the output "mean" of a sequence of 4 changes when it is padded to 8.`,
    ],
    [
      'that leaves an output out is told',
      { ...sequences, sequence_axes: 'x:1=9,mask:1=0' },
      `Padding, which 'sequence_axes' declares harmless, changes answers: the output "tokens" has shape [1,4,2] for a sequence of 4 and [1,8,2] when it is padded to 8.`,
    ],
  ])('%s', async (_, parameters, reason) => {
    const repository = mkdtempSync(path.join(folder, 'masked-'));
    await generateMaskedModel(repository, { parameters });
    const worker = await start({ repositories: [repository] });
    await worker.settled();
    expect(worker.statuses()).toMatchObject([{ state: 'ready', reason, spec: { buckets: { lengths: [8, 64] } } }]);
  });
});

describe('sessions', () => {
  it('are served side by side, each with its own batch numbers', async () => {
    const worker = await start({ repositories: [path.join(folder, 'probes')] });
    const [one, two] = [new Listener(worker), new Listener(worker)];
    await worker.settled();
    const answers = await Promise.all(
      [one, two].map((listener, who) =>
        listener.execute({ model: 'affine', rows: 1, inputs: input([who, who, who, who]) }),
      ),
    );
    expect(answers.map(answerOf)).toEqual([Array(4).fill(1), Array(4).fill(3)]);
    one.session.close();
    await until('the close', () => one.closedBecause !== undefined);
    expect(answerOf(await two.execute({ model: 'affine', rows: 1, inputs: input([5, 5, 5, 5]) }))[0]).toBe(11);
  });

  it('may have as many batches as there are credits, and are told when it is more', async () => {
    const worker = await start({ repositories: [path.join(folder, 'slow')], pipelineDepth: 1 });
    const listener = new Listener(worker);
    await worker.settled();
    const batch = { model: 'slow', rows: 1, inputs: input([1, 2, 3, 4]) };
    const [first, second, third] = [listener.execute(batch), listener.execute(batch), listener.execute(batch)];
    expect(failureOf(await third)).toMatchObject({ error: { code: 'QUEUE_FULL' }, retryable: true });
    expect(answerOf(await first)).toEqual([3, 5, 7, 9]);
    expect(answerOf(await second)).toEqual([3, 5, 7, 9]);
  });

  it('have credits for each device, and learn which devices there are', async () => {
    const worker = await start({ repositories: [path.join(folder, 'slow')], pipelineDepth: 1 });
    const listener = new Listener(worker);
    await worker.settled();
    const batch = { model: 'slow', rows: 1, inputs: input([1, 2, 3, 4]), device: 'cpu' };
    const [first, second, third] = [listener.execute(batch), listener.execute(batch), listener.execute(batch)];
    expect(failureOf(await third)).toMatchObject({ error: { code: 'QUEUE_FULL' }, retryable: true });
    expect(answerOf(await first)).toEqual([3, 5, 7, 9]);
    expect(failureOf(await listener.execute({ ...batch, device: 'cuda:3' }))).toMatchObject({
      error: { code: 'MODEL_NOT_READY', message: expect.stringContaining('cuda:3; its devices: cpu.') },
      retryable: true,
    });
    expect(answerOf(await second)).toEqual([3, 5, 7, 9]);
    // The credits are back.
    expect(answerOf(await listener.execute(batch))).toEqual([3, 5, 7, 9]);
  });

  it('can give a waiting batch up', async () => {
    const worker = await start({ repositories: [path.join(folder, 'slow')], pipelineDepth: 3 });
    const listener = new Listener(worker);
    await worker.settled();
    const batch = { model: 'slow', rows: 1, inputs: input([1, 2, 3, 4]) };
    const answers = [0, 1, 2, 3].map(() => listener.execute(batch));
    for (const answer of answers.slice(1)) listener.session.send({ kind: 'cancel', batchId: answer.id });
    const kinds = (await Promise.all(answers)).map((answer) => failureOf(answer)?.error.code ?? 'result');
    expect(kinds).toEqual(['result', 'CANCELLED', 'CANCELLED', 'CANCELLED']);
  });

  it('share the instances of a version', async () => {
    const worker = await start({ repositories: [] });
    const modelPath = path.join(folder, 'probes/affine/1/model.onnx');
    await worker.loadVersion(planFor(modelPath, { instanceGroups: [{ kind: 'cpu', count: 2, gpus: [] }] }));
    const listener = new Listener(worker);
    await until('hello', () => listener.versions.get('m/1')?.slots === 2);
    const answers = await Promise.all(
      [1, 2].map((value) => listener.execute({ model: 'm', rows: 1, inputs: input(Array(4).fill(value)) })),
    );
    const instances = answers.map((answer) => (answer.kind === 'result' ? answer.result.instance : ''));
    expect(instances.sort()).toEqual(['w1:m/1#0', 'w1:m/1#1']);
  });
});

describe('draining', () => {
  it('finishes what it has, refuses what comes, ends every process and session', async () => {
    const worker = await start({ repositories: [path.join(folder, 'slow')] });
    const listener = new Listener(worker);
    await worker.settled();
    const pids = pidsOf(worker);
    const batch = { model: 'slow', rows: 1, inputs: input([1, 2, 3, 4]) };
    const held = [listener.execute(batch), listener.execute(batch)];
    const drained = worker.drain(10_000);
    const late = await listener.execute(batch);
    expect(failureOf(late)).toMatchObject({ error: { code: 'DRAINING' }, retryable: true });
    for (const answer of held) expect(answerOf(await answer)).toEqual([3, 5, 7, 9]);
    await drained;
    expect(listener.messages.map(({ kind }) => kind)).toContain('draining');
    await until('the close', () => listener.closedBecause !== undefined);
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) expect(isAlive(pid)).toBe(false);
  });

  it('gives up on what is not done within the grace period', async () => {
    const worker = await start({ repositories: [path.join(folder, 'slow')] });
    const listener = new Listener(worker);
    await worker.settled();
    const answer = listener.execute({ model: 'slow', rows: 1, inputs: input([1, 2, 3, 4]) });
    await worker.drain(0);
    expect(failureOf(await answer)).toMatchObject({ error: { code: 'DRAINING' }, retryable: true });
  });
});

describe('devices', () => {
  it('that are not there stop the worker with the remedy', async () => {
    await expect(start({ repositories: [], devices: ['cuda:0'] })).rejects.toMatchObject({
      code: 'PROVIDER_MISSING',
      message: expect.stringContaining('ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node'),
    });
    await expect(start({ repositories: [], devices: ['tpu'] })).rejects.toMatchObject({ code: 'BAD_SETTING' });
  });
});

describe('a repository that cannot be read', () => {
  it('is an error of start-up, or of reload', async () => {
    const repository = path.join(folder, 'moving');
    cpSync(path.join(folder, 'probes/affine'), path.join(repository, 'affine'), { recursive: true });
    const worker = await start({ repositories: [repository] });
    await worker.settled();
    renameSync(repository, `${repository}-away`);
    await expect(worker.reload()).rejects.toMatchObject({ name: 'ShoalError' });
    // What is served goes on being served.
    expect(worker.statuses()).toMatchObject([{ state: 'ready' }]);
  });
});
