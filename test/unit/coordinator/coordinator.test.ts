import { beforeEach, describe, expect, it } from 'vitest';
import { Coordinator } from '../../../coordinator/coordinator.js';
import { plainScheduling } from '../../../coordinator/scheduling/scheduler.js';
import type { ServingObserver } from '../../../coordinator/serving.js';
import { VirtualClock } from '../../../core/clock.js';
import { type CallContext, type InferOutcome, type InferRequest, noParameters } from '../../../core/inference.js';
import { naturalBatching } from '../../../core/model.js';
import { seededRandom } from '../../../core/random.js';
import { createLogger } from '../../../platform/telemetry/logger.js';
import { asFloats, doublingSpec, floats, readyStatus, SimulatedWorker } from '../../support/simulated-worker.js';

let clock: VirtualClock;
let coordinator: Coordinator;
let failures: string[];
let retries: number;
let batches: { rows: number; reason: string }[];

beforeEach(() => {
  clock = new VirtualClock();
  failures = [];
  batches = [];
  retries = 0;
  const observer: ServingObserver = {
    answered: () => undefined,
    failed: (_model, _version, code) => failures.push(code),
    dispatched: (_model, _version, rows, _requests, reason) => batches.push({ rows, reason }),
    retried: () => retries++,
    executedLate: () => undefined,
  };
  coordinator = new Coordinator({
    clock,
    timers: clock,
    defer: (run) => clock.after(0, run),
    random: seededRandom(1),
    log: createLogger({ level: 'silent' }),
    observer,
    dial: () => {
      throw new Error('nobody announces in these tests');
    },
    maxQueueRows: 100,
    maxAttempts: 2,
    replicaGraceMs: 1000,
    workerTtlMs: 10_000,
    scheduling: plainScheduling,
  });
});

function join(options: ConstructorParameters<typeof SimulatedWorker>[1] = {}): SimulatedWorker {
  const worker = new SimulatedWorker(clock, options);
  coordinator.fleet.add(worker.info.workerId, 'in-process', worker);
  clock.advance(1);
  return worker;
}

const context = (deadlineMs = Number.POSITIVE_INFINITY): CallContext => ({
  arrivedMs: clock.nowMs(),
  deadlineMs,
  traceparent: '',
  caller: 'test',
});

const request = (shape: number[], values: number[], more: Partial<InferRequest> = {}): InferRequest => ({
  model: 'double',
  version: '',
  id: 'a',
  parameters: noParameters,
  inputs: [{ name: 'x', datatype: 'FP32', shape, data: floats(...values) }],
  outputs: [],
  ...more,
});

/** Sends a request and collects its answers: there must never be more than one. */
function ask(message: InferRequest, callContext = context()) {
  const answers: InferOutcome[] = [];
  const cancel = coordinator.infer(message, callContext, (outcome) => answers.push(outcome));
  const values = (): number[] | string => {
    const [outcome] = answers;
    if (outcome === undefined) return 'waits';
    return outcome.ok ? asFloats(outcome.response.outputs[0]?.parts ?? []) : outcome.error.code;
  };
  return { answers, cancel, values };
}

describe('batches', () => {
  it('puts requests that arrive together into one batch and gives each its own rows', () => {
    const worker = join();
    const calls = [1, 2, 3].map((value) => ask(request([1, 2], [value, -value])));
    clock.advance(20);
    expect(calls.map((call) => call.values())).toEqual([
      [3, -1],
      [5, -3],
      [7, -5],
    ]);
    expect(worker.executed).toHaveLength(1);
    expect(batches).toEqual([{ rows: 3, reason: 'idle' }]);
  });

  it('keeps other shapes in other batches without closing the first', () => {
    const worker = join({ statuses: [readyStatus(doublingSpec(), 2)] });
    const calls = [
      ask(request([1, 1], [1])),
      ask(request([1, 2], [2, 3])),
      ask(request([1, 1], [4])),
      ask(request([1, 2], [5, 6])),
    ];
    clock.advance(20);
    expect(calls.map((call) => call.values())).toEqual([[3], [5, 7], [9], [11, 13]]);
    expect(worker.executed.map((batch) => batch.rows)).toEqual([2, 2]);
  });

  it('splits a request that is larger than a batch, and joins its rows in order', () => {
    join({ workerId: 'w1' });
    join({ workerId: 'w2', batchMs: 3 });
    const values = Array.from({ length: 10 }, (_, i) => i);
    const call = ask(request([10, 1], values));
    clock.advance(50);
    expect(call.values()).toEqual(values.map((value) => 2 * value + 1));
    expect(call.answers[0]).toMatchObject({ ok: true, response: { outputs: [{ shape: [10, 1], byteLength: 40 }] } });
    expect(batches.map((batch) => batch.rows)).toEqual([4, 4, 2]);
  });

  it('refuses to join parts whose outputs came back in different shapes', () => {
    const worker = join();
    worker.intercept = (batch) => ({
      kind: 'result',
      result: {
        batchId: batch.batchId,
        instance: '0',
        outputs: [
          { name: 'y', datatype: 'FP32', shape: [batch.rows, batch.rows], data: new Uint8Array(4 * batch.rows ** 2) },
        ],
        timing: { waitUs: 0, inputUs: 0, executeUs: 0, outputUs: 0 },
      },
    });
    const call = ask(request([6, 1], [1, 2, 3, 4, 5, 6]));
    clock.advance(50);
    expect(call.values()).toBe('EXECUTION_FAILED');
    expect(call.answers).toHaveLength(1);
  });

  it('waits for company only as long as max_queue_delay allows', () => {
    const spec = doublingSpec({ batching: { ...naturalBatching, maxQueueDelayUs: 5000, preferredRows: [] } });
    join({ statuses: [readyStatus(spec)] });
    const first = ask(request([1, 1], [1]));
    clock.advance(3);
    const second = ask(request([1, 1], [2]));
    clock.advance(1);
    expect(batches).toEqual([]);
    clock.advance(1.5);
    expect(batches).toEqual([{ rows: 2, reason: 'delay' }]);
    clock.advance(20);
    expect([first.values(), second.values()]).toEqual([[3], [5]]);
  });

  it('executes one request at a time where the model does not batch', () => {
    const worker = join({ statuses: [readyStatus(doublingSpec({ maxBatchSize: 0 }))] });
    const calls = [ask(request([2, 1], [1, 2])), ask(request([3, 1], [3, 4, 5]))];
    clock.advance(50);
    expect(calls.map((call) => call.values())).toEqual([
      [3, 5],
      [7, 9, 11],
    ]);
    expect(worker.executed.map((batch) => batch.inputs[0]?.shape)).toEqual([
      [2, 1],
      [3, 1],
    ]);
  });

  it('sends a full batch ahead of a busy instance, but never half of one', () => {
    const worker = join({ depth: 1 });
    for (let i = 0; i < 4; i++) ask(request([1, 1], [i]));
    clock.advance(1);
    for (let i = 0; i < 3; i++) ask(request([1, 1], [i]));
    clock.advance(1);
    expect(worker.executed.map((batch) => batch.rows)).toEqual([4]);
    ask(request([1, 1], [9]));
    clock.advance(1);
    expect(worker.executed.map((batch) => batch.rows)).toEqual([4, 4]);
  });
});

describe('deadlines and cancellation', () => {
  it('refuses what has expired already', () => {
    join();
    clock.advance(100);
    const call = ask(request([1, 1], [1]), context(50));
    clock.advance(0);
    expect(call.values()).toBe('DEADLINE_EXPIRED');
  });

  it('fails waiting work at its deadline and never executes it', async () => {
    const worker = join();
    ask(request([4, 1], [1, 2, 3, 4]));
    clock.advance(1);
    const late = ask(request([1, 1], [1], { parameters: { timeout: 5000 } }));
    clock.advance(4.9);
    expect(late.values()).toBe('waits');
    clock.advance(0.2);
    expect(late.values()).toBe('DEADLINE_EXPIRED');
    clock.advance(100);
    expect(worker.executed).toHaveLength(1);
    expect(late.answers).toHaveLength(1);
  });

  it('tells the caller at the deadline even while the batch runs', () => {
    const worker = join({ batchMs: 100 });
    const call = ask(request([1, 1], [1]), context(clock.nowMs() + 30));
    clock.advance(31);
    expect(call.values()).toBe('DEADLINE_EXPIRED');
    expect(worker.cancelled).toEqual([1]);
    clock.advance(100);
    expect(call.answers).toHaveLength(1);
  });

  it('takes cancelled work out of the queue, and calls back a batch nobody waits for', () => {
    const worker = join({ batchMs: 50 });
    const running = ask(request([4, 1], [1, 2, 3, 4]));
    clock.advance(1);
    const waiting = ask(request([1, 1], [1]));
    clock.advance(1);
    waiting.cancel();
    running.cancel();
    clock.advance(100);
    expect(worker.cancelled).toEqual([1]);
    expect(worker.executed).toHaveLength(1);
    expect(failures).toEqual(['CANCELLED', 'CANCELLED']);
  });
});

describe('failures', () => {
  it('tries a lost batch once more, elsewhere', () => {
    const w1 = join({ workerId: 'w1' });
    const w2 = join({ workerId: 'w2' });
    const call = ask(request([1, 1], [1]));
    clock.advance(1);
    const [holder, other] = w1.executed.length > 0 ? [w1, w2] : [w2, w1];
    holder?.cut('power failure');
    clock.advance(30);
    expect(call.values()).toEqual([3]);
    expect(other?.executed).toHaveLength(1);
    expect(retries).toBe(1);
  });

  it('gives up after the second loss with a typed error', () => {
    const worker = join();
    worker.intercept = (batch) => ({
      kind: 'failure',
      failure: { batchId: batch.batchId, retryable: true, error: { code: 'EXECUTOR_CRASHED', message: 'It died.' } },
    });
    const call = ask(request([1, 1], [1]));
    clock.advance(100);
    expect(call.values()).toBe('EXECUTOR_CRASHED');
    expect(worker.executed).toHaveLength(2);
  });

  it('counts no attempt when a worker sent the batch back untried, but does not ask for ever', () => {
    const worker = join();
    let refusals = 3;
    worker.intercept = ({ batchId }) => {
      if (refusals-- <= 0) return undefined;
      const error = { code: 'MODEL_NOT_READY' as const, message: 'No instance is up.' };
      return { kind: 'failure', failure: { batchId, error, retryable: true } };
    };
    const first = ask(request([1, 1], [1]));
    clock.advance(100);
    expect(first.values()).toEqual([3]);
    expect(first.answers[0]).toMatchObject({ response: { receipt: { attempt: 1 } } });
    refusals = Number.POSITIVE_INFINITY;
    worker.executed.length = 0;
    const second = ask(request([1, 1], [1]));
    clock.advance(1000);
    expect(second.values()).toBe('MODEL_NOT_READY');
    expect(worker.executed).toHaveLength(17);
  });

  it('runs the requests of a refused batch apart, so that only the guilty one fails', () => {
    const worker = join();
    worker.intercept = (batch) => {
      const values = asFloats(batch.inputs[0]?.parts ?? []);
      if (!values.includes(666)) return undefined;
      const error = { code: 'EXECUTION_FAILED' as const, message: 'Index out of range.' };
      return { kind: 'failure', failure: { batchId: batch.batchId, retryable: false, error } };
    };
    const calls = [1, 666, 3].map((value) => ask(request([1, 1], [value])));
    clock.advance(200);
    expect(calls.map((call) => call.values())).toEqual([[3], 'EXECUTION_FAILED', [7]]);
  });

  it('refuses an output that does not have one entry per row instead of guessing whose it is', () => {
    const worker = join();
    worker.intercept = (batch) => ({
      kind: 'result',
      result: {
        batchId: batch.batchId,
        instance: '0',
        outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 1], data: floats(1) }],
        timing: { waitUs: 0, inputUs: 0, executeUs: 0, outputUs: 0 },
      },
    });
    const calls = [ask(request([1, 1], [1])), ask(request([1, 1], [2]))];
    clock.advance(50);
    expect(calls.map((call) => call.values())).toEqual(['EXECUTION_FAILED', 'EXECUTION_FAILED']);
  });

  it('keeps requests while the only worker reconnects', () => {
    const worker = join();
    const call = ask(request([1, 1], [1]));
    clock.advance(1);
    worker.cut('restart');
    const second = ask(request([1, 1], [2]));
    clock.advance(500);
    expect(call.values()).toEqual([3]);
    expect(second.values()).toEqual([5]);
  });

  it('fails waiting requests with the reason once a version is hopeless', () => {
    const worker = join();
    worker.intercept = () => 'silence';
    ask(request([4, 1], [1, 2, 3, 4]));
    clock.advance(1);
    const waiting = ask(request([1, 1], [1]));
    worker.say({
      kind: 'version',
      status: { ...readyStatus(doublingSpec()), state: 'quarantined', reason: 'crashed five times', slots: 0 },
    });
    clock.advance(1);
    expect(waiting.values()).toBe('MODEL_NOT_READY');
    const next = ask(request([1, 1], [1]));
    clock.advance(1);
    expect(next.answers[0]).toMatchObject({ ok: false, error: { code: 'MODEL_NOT_READY' } });
    expect(JSON.stringify(next.answers[0]?.ok === false && next.answers[0].error.message)).toContain(
      'crashed five times',
    );
  });

  it('says that a model does not exist only while a worker is there that could know', () => {
    const message = request([1, 1], [1]);
    const early = ask(message);
    clock.advance(1);
    expect(early.answers[0]).toMatchObject({ ok: false, error: { code: 'NO_WORKER', retryAfterMs: 1000 } });
    expect(() => coordinator.describe('double', '')).toThrow(/no worker is connected/);
    join({ statuses: [] });
    const late = ask(message);
    clock.advance(1);
    expect(late.values()).toBe('MODEL_NOT_FOUND');
  });

  it('lets callers in who have less than their part of a queue that another has filled', () => {
    join({ batchMs: 1000 });
    ask(request([1, 1], [0]));
    clock.advance(1);
    for (let i = 0; i < 150; i++) ask(request([1, 1], [i]));
    clock.advance(1);
    expect(failures.filter((code) => code === 'QUEUE_FULL')).toHaveLength(50);
    const others = Array.from({ length: 60 }, () => ask(request([1, 1], [0]), { ...context(), caller: 'another' }));
    clock.advance(1);
    // Of a hundred rows two callers have fifty each.
    expect(others.filter((call) => call.answers.length > 0)).toHaveLength(10);
  });

  it('refuses above the queue limit, with a time to retry', () => {
    join({ batchMs: 1000 });
    ask(request([1, 1], [0]));
    clock.advance(1);
    for (let i = 0; i < 100; i++) ask(request([1, 1], [i]));
    const call = ask(request([1, 1], [0]));
    clock.advance(1);
    expect(call.answers[0]).toMatchObject({ ok: false, error: { code: 'QUEUE_FULL', retryAfterMs: 100 } });
  });
});

describe('versions and draining', () => {
  it('serves the newest ready version unless one is named', () => {
    const old = doublingSpec({ version: '9' });
    const young = doublingSpec({ version: '10' });
    const worker = join({ statuses: [readyStatus(old), readyStatus(young)] });
    ask(request([1, 1], [1]));
    ask(request([1, 1], [1], { version: '9' }));
    const unknown = ask(request([1, 1], [1], { version: '3' }));
    const stranger = ask(request([1, 1], [1], { model: 'nope' }));
    clock.advance(30);
    expect(worker.executed.map((batch) => batch.version).sort()).toEqual(['10', '9']);
    expect(unknown.values()).toBe('VERSION_NOT_FOUND');
    expect(stranger.values()).toBe('MODEL_NOT_FOUND');
  });

  it('sends nothing to a worker that drains, and still takes its last results', () => {
    const w1 = join({ workerId: 'w1' });
    const running = ask(request([1, 1], [1]));
    clock.advance(1);
    w1.say({ kind: 'draining' });
    const w2 = join({ workerId: 'w2' });
    const next = ask(request([1, 1], [2]));
    clock.advance(30);
    expect(running.values()).toEqual([3]);
    expect(next.values()).toEqual([5]);
    expect([w1.executed.length, w2.executed.length]).toEqual([1, 1]);
  });

  it('finishes what it has when it drains, and refuses the rest', async () => {
    join({ batchMs: 20 });
    const call = ask(request([1, 1], [1]));
    const drained = coordinator.drain(1000);
    const refused = ask(request([1, 1], [2]));
    for (let i = 0; i < 20; i++) {
      clock.advance(5);
      await Promise.resolve();
    }
    await drained;
    expect(call.values()).toEqual([3]);
    expect(refused.values()).toBe('DRAINING');
  });
});
