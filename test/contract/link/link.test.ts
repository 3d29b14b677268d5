import { Client, credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { Datatype } from '../../../core/datatype.js';
import type { Batch, LinkSession, ToCoordinator, WorkerEndpoint } from '../../../core/link.js';
import { openQueue } from '../../../core/model.js';
import { serverOptions } from '../../../platform/grpc-options.js';
import { GrpcWorkerEndpoint, linkImplementation, linkService } from '../../../platform/link/grpc-link.js';
import { systemTimers } from '../../../platform/timers.js';
import { eventually } from '../../support/eventually.js';
import { asFloats, doublingSpec, floats, readyStatus, SimulatedWorker } from '../../support/simulated-worker.js';

const bind = (server: Server): Promise<number> =>
  new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );

/** The two ways to a worker. Whatever holds for one must hold for the other. */
const ways: Record<string, (worker: WorkerEndpoint) => Promise<{ endpoint: WorkerEndpoint; stop: () => void }>> = {
  'in memory': async (worker) => ({ endpoint: worker, stop: () => undefined }),
  'over gRPC': async (worker) => {
    const server = new Server(serverOptions());
    server.addService(linkService, linkImplementation(worker));
    const port = await bind(server);
    return { endpoint: new GrpcWorkerEndpoint(`127.0.0.1:${port}`, 1 << 28), stop: () => server.forceShutdown() };
  },
};

const cleanup: (() => void)[] = [];
afterEach(() => {
  for (const undo of cleanup.splice(0).reverse()) undo();
});

function batch(overrides: Partial<Batch> = {}): Batch {
  const parts = [floats(1, 2), floats(3)];
  return {
    batchId: 7,
    model: 'double',
    version: '1',
    device: '',
    rows: 3,
    inputs: [{ name: 'x', datatype: 'FP32', shape: [3, 1], parts, byteLength: 12 }],
    outputs: ['y'],
    budgetUs: Number.POSITIVE_INFINITY,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    attempt: 1,
    ...overrides,
  };
}

describe.each(Object.entries(ways))('a link %s', (_name, make) => {
  async function connect(worker = new SimulatedWorker(systemTimers, { batchMs: 1 })) {
    const { endpoint, stop } = await make(worker);
    const messages: ToCoordinator[] = [];
    const closed: string[] = [];
    const session: LinkSession = endpoint.open({
      message: (message) => messages.push(message),
      closed: (reason) => closed.push(reason),
    });
    expect(messages, 'nothing is said before open has returned').toEqual([]);
    cleanup.push(stop, () => session.close());
    return { worker, session, messages, closed, stop };
  }

  it('says hello first, with the whole snapshot', async () => {
    const spec = doublingSpec({
      batching: {
        maxQueueDelayUs: 1500,
        preferredRows: [2, 4],
        preserveOrdering: true,
        priorityLevels: 3,
        defaultPriorityLevel: 2,
        priorityMode: 'strict',
        queuePolicy: { timeoutUs: 5_000_000_000, timeoutAction: 'delay', allowTimeoutOverride: true, maxRequests: 9 },
        queuePolicyByLevel: { 1: openQueue, 3: { ...openQueue, maxRequests: 1 } },
        fixedRows: [2, 4],
      },
      buckets: {
        lengths: [8, 64],
        inputs: [{ tensor: 'x', axis: 1, padValue: -1.5 }],
        outputs: [{ tensor: 'y', axis: 1, padValue: 0 }],
      },
      resources: [
        { name: 'r', count: 2, global: false },
        { name: 'link', count: 1, global: true },
      ],
      deviceWeight: 1 / 3,
      labels: { y: ['cat', 'dog'] },
    });
    const status = {
      ...readyStatus(spec, 2),
      reason: 'why not',
      instances: [{ id: '0', device: 'cpu', state: 'backoff' as const, reason: 'crashed', pid: 42, restarts: 3 }],
    };
    const loading = { ...readyStatus(spec), version: '2', state: 'loading' as const, spec: undefined, slots: 0 };
    const worker = new SimulatedWorker(systemTimers, { statuses: [status, loading], depth: 1 });
    const { messages } = await connect(worker);
    await eventually(() => expect(messages).toHaveLength(1));
    expect(messages[0]).toEqual({ kind: 'hello', worker: worker.info, versions: [status, loading] });
  });

  it('carries a batch there and its result back, byte for byte', async () => {
    const { worker, session, messages } = await connect();
    await eventually(() => expect(messages).toHaveLength(1));
    session.send({ kind: 'execute', batch: batch() });
    await eventually(() => expect(messages).toHaveLength(2));
    expect(worker.executed[0]).toMatchObject({
      batchId: 7,
      rows: 3,
      outputs: ['y'],
      attempt: 1,
      budgetUs: Number.POSITIVE_INFINITY,
      traceparent: batch().traceparent,
    });
    expect(asFloats(worker.executed[0]?.inputs[0]?.parts ?? [])).toEqual([1, 2, 3]);
    const answer = messages[1];
    expect(answer).toMatchObject({ kind: 'result', result: { batchId: 7, timing: { executeUs: 10 } } });
    if (answer?.kind === 'result')
      expect(asFloats(answer.result.outputs.map((output) => output.data))).toEqual([3, 5, 7]);
  });

  it('carries empty tensors, scalars, no inputs at all, and 20 MB', async () => {
    const { worker, session, messages, closed } = await connect();
    const inputs = (datatype: Datatype, shape: number[], bytes: number) => [
      { name: 'x', datatype, shape, parts: [new Uint8Array(bytes)], byteLength: bytes },
    ];
    session.send({ kind: 'execute', batch: batch({ batchId: 1, inputs: inputs('FP32', [0, 4], 0) }) });
    session.send({ kind: 'execute', batch: batch({ batchId: 2, inputs: inputs('INT64', [], 8) }) });
    session.send({ kind: 'execute', batch: batch({ batchId: 3, inputs: [] }) });
    session.send({ kind: 'execute', batch: batch({ batchId: 4, inputs: inputs('UINT8', [20_000_000], 20_000_000) }) });
    await eventually(() => expect(messages.filter((message) => message.kind === 'result')).toHaveLength(4), 10_000);
    expect(closed).toEqual([]);
    expect(worker.executed.map(({ inputs: [input] }) => [input?.shape, input?.byteLength])).toEqual([
      [[0, 4], 0],
      [[], 8],
      [undefined, undefined],
      [[20_000_000], 20_000_000],
    ]);
  });

  it('keeps a budget that ran out from becoming no deadline', async () => {
    const { worker, session } = await connect();
    session.send({ kind: 'execute', batch: batch({ budgetUs: 0 }) });
    await eventually(() => expect(worker.executed).toHaveLength(1));
    expect(worker.executed[0]?.budgetUs).toBeLessThanOrEqual(1);
  });

  it('carries cancellations, failures and changes of state', async () => {
    const { worker, session, messages } = await connect();
    await eventually(() => expect(messages).toHaveLength(1));
    session.send({ kind: 'cancel', batchId: 12 });
    await eventually(() => expect(worker.cancelled).toEqual([12]));
    const said: ToCoordinator[] = [
      {
        kind: 'failure',
        failure: { batchId: 3, error: { code: 'EXECUTOR_CRASHED', message: 'SIGKILL' }, retryable: true },
      },
      {
        kind: 'version',
        status: { ...readyStatus(doublingSpec()), state: 'quarantined', reason: 'it keeps crashing', slots: 0 },
      },
      { kind: 'gone', model: 'double', version: '1' },
      { kind: 'draining' },
    ];
    for (const message of said) worker.say(message);
    await eventually(() => expect(messages.slice(1)).toEqual(said));
  });

  it('tells once that it was closed by the worker', async () => {
    const { worker, messages, closed } = await connect();
    await eventually(() => expect(messages).toHaveLength(1));
    worker.cut('gone fishing');
    await eventually(() => expect(closed).toHaveLength(1));
    worker.say({ kind: 'draining' });
    expect(messages).toHaveLength(1);
  });
});

describe('a link over gRPC', () => {
  it('ends a session in which somebody speaks another language, and says so', async () => {
    const worker = new SimulatedWorker(systemTimers, {});
    const server = new Server(serverOptions());
    server.addService(linkService, linkImplementation(worker));
    const port = await bind(server);
    cleanup.push(() => server.forceShutdown());
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    cleanup.push(() => client.close());
    const asIs = (bytes: Buffer): Buffer => bytes;
    const stream = client.makeBidiStreamRequest('/shoal.link.v1.Link/Open', asIs, asIs);
    const errors: string[] = [];
    stream.on('error', (error) => errors.push(error.message));
    stream.on('data', () => undefined);
    stream.write(Buffer.from('GET / HTTP/1.1'));
    await eventually(() => expect(errors).toHaveLength(1));
    expect(errors[0]).toContain('ToWorker');
  });

  it('reports a worker that cannot be reached, and one that dies', async () => {
    const closed: string[] = [];
    const events = { message: () => undefined, closed: (reason: string) => closed.push(reason) };
    new GrpcWorkerEndpoint('127.0.0.1:1', 1 << 20).open(events);
    await eventually(() => expect(closed).toHaveLength(1), 10_000);
    expect(closed[0]).toContain('127.0.0.1:1');

    const { endpoint, stop } = await (ways['over gRPC'] as (typeof ways)[string])(
      new SimulatedWorker(systemTimers, {}),
    );
    let hello = false;
    endpoint.open({
      message: () => {
        hello = true;
      },
      closed: events.closed,
    });
    await eventually(() => expect(hello).toBe(true));
    stop();
    await eventually(() => expect(closed).toHaveLength(2), 10_000);
  });
});
