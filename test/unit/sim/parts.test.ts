import { describe, expect, it } from 'vitest';
import { SimDevice } from '../../../bench/sim/device.js';
import { type LoadPlan, type RequestPlan, startLoad } from '../../../bench/sim/load.js';
import { CoordinatorMeter } from '../../../bench/sim/meter.js';
import { linearProfile, measuredProfile, profilePoints } from '../../../bench/sim/profile.js';
import { answerTensor, eachRow, requestTensor, simSpec, wrongRow } from '../../../bench/sim/rows.js';
import {
  always,
  blend,
  logNormal,
  streamOf,
  uniform,
  weighted,
  zipf,
  zipfShares,
} from '../../../bench/sim/samplers.js';
import { SimSession } from '../../../bench/sim/sim-session.js';
import { SimWorker } from '../../../bench/sim/sim-worker.js';
import { VirtualClock } from '../../../core/clock.js';
import type { Batch, LinkEvents, ToCoordinator } from '../../../core/link.js';
import { seededRandom } from '../../../core/random.js';

const model = { index: 3, spec: simSpec('m', 8), profile: linearProfile(10, 0), noise: 0 };

describe('chance', () => {
  const draws = 20_000;
  const mean = (draw: () => number): number => Array.from({ length: draws }, draw).reduce((a, b) => a + b, 0) / draws;

  it('follows weights, bounds and distributions', () => {
    const random = seededRandom(1);
    const heavy = weighted([
      [3, 1],
      [1, 0],
    ]);
    expect(mean(() => heavy(random))).toBeCloseTo(0.75, 1);
    expect(mean(() => uniform(2, 4)(random))).toBeCloseTo(3, 1);
    expect(mean(() => (logNormal(5, 0.8)(random) < 5 ? 1 : 0))).toBeCloseTo(0.5, 1);
    const either = blend([
      [1, always(0)],
      [1, uniform(1, 3)],
    ]);
    expect(mean(() => either(random))).toBeCloseTo(1, 1);
  });

  it('makes the first of n as popular as Zipf says', () => {
    const shares = zipfShares(100, 1);
    expect(shares.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
    const random = seededRandom(2);
    const pick = zipf(100, 1);
    for (const index of [0, 9]) {
      const seen = mean(() => (pick(random) === index ? 1 : 0));
      expect(Math.abs(seen - (shares[index] ?? 0))).toBeLessThan(0.01);
    }
  });

  it('has streams of one seed that are unlike', () => {
    expect(streamOf(1, 2).next()).toBe(streamOf(1, 2).next());
    expect(new Set([1, 2, 3].map((stream) => streamOf(1, stream).next())).size).toBe(3);
  });
});

describe('profiles', () => {
  it('are a line, or lines between points', () => {
    expect(linearProfile(9, 0.5).msOf(4)).toBe(11);
    const measured = measuredProfile([
      { rows: 1, ms: 4 },
      { rows: 5, ms: 8 },
      { rows: 10, ms: 18 },
    ]);
    expect([1, 3, 5, 6, 10, 20].map((rows) => measured.msOf(rows))).toEqual([4, 6, 8, 10, 18, 38]);
    expect(measuredProfile([{ rows: 2, ms: 6 }]).msOf(3)).toBe(9);
    expect(profilePoints(linearProfile(1, 1), 6).map(({ rows }) => rows)).toEqual([1, 2, 4, 6]);
  });
});

describe('a device', () => {
  const finish = (lanes: number, works: readonly number[], act: (device: SimDevice, clock: VirtualClock) => void) => {
    const clock = new VirtualClock();
    const device = new SimDevice('cpu', lanes, clock);
    const ends = works.map(() => Number.NaN);
    works.forEach((workMs, index) => {
      device.run(workMs, () => {
        ends[index] = clock.nowMs();
      });
    });
    act(device, clock);
    clock.advance(1000);
    return { ends, busyMs: device.busyMs };
  };
  const nothing = (): void => undefined;

  it('is shared by those who run on it, evenly', () => {
    expect(finish(1, [10, 10], nothing)).toEqual({ ends: [20, 20], busyMs: 20 });
    // 20 ms together for the first's 10; then the second has 20 of its 30 left, alone.
    expect(finish(1, [10, 30], nothing)).toEqual({ ends: [20, 40], busyMs: 40 });
    expect(finish(2, [10, 30], nothing)).toEqual({ ends: [10, 30], busyMs: 30 });
  });

  it('can become slower, stand still, and be rid of work', () => {
    const slowed = finish(1, [10], (device, clock) => {
      clock.advance(5);
      device.setSpeed(0.5);
    });
    expect(slowed.ends).toEqual([15]);
    const stopped = finish(1, [10], (device, clock) => {
      clock.advance(4);
      device.setSpeed(0);
      clock.advance(100);
      device.setSpeed(1);
    });
    expect(stopped.ends).toEqual([110]);
    const rid = finish(1, [10], (device, clock) => {
      const breakOff = device.run(10, () => expect.fail('it was broken off'));
      clock.advance(4);
      breakOff();
    });
    expect(rid.ends).toEqual([12]);
  });
});

describe('rows', () => {
  const batch = (parts: readonly Uint8Array[], rows: number, width: number): Batch => ({
    ...{
      batchId: 1,
      model: 'm',
      version: '1',
      rows,
      device: '',
      outputs: ['y'],
      budgetUs: 1,
      traceparent: '',
      attempt: 1,
    },
    inputs: [{ name: 'x', datatype: 'UINT32', shape: [rows, width], parts, byteLength: rows * width * 4 }],
  });

  it('carry their names through a batch that was padded in length and in number', () => {
    const wide = requestTensor(70_000, 2, 2).data;
    const pad = new Uint8Array(4);
    const padded = batch([wide.subarray(0, 8), pad, wide.subarray(8), pad, new Uint8Array(12)], 3, 3);
    const seen: [number, number][] = [];
    eachRow(padded, (id, row) => seen.push([id, row]));
    expect(seen).toEqual([
      [70_000, 0],
      [70_000, 1],
    ]);
    const answer = answerTensor(padded, model);
    expect(answer.shape).toEqual([3, 3]);
    const own = { id: 70_000, rows: 2, modelIndex: 3 };
    expect(wrongRow([answer.data.subarray(0, 24)], own)).toBeUndefined();
    expect(wrongRow([answer.data], own)).toBe('its row 2 is one of request 0');
  });
});

describe('a link', () => {
  it('keeps the order of messages, whatever each takes', () => {
    const clock = new VirtualClock();
    const there: number[] = [];
    const back: number[] = [];
    const session = new SimSession({
      id: 1,
      owner: {
        workerId: 'w0',
        received: (_, message) => there.push(message.kind === 'cancel' ? message.batchId : -1),
        closedByCoordinator: () => undefined,
      },
      events: {
        message: (message) => back.push(message.kind === 'failure' ? message.failure.batchId : -1),
        closed: (reason) => back.push(reason.length),
      },
      probe: { sent: () => undefined, told: () => undefined, ended: () => undefined },
      clock,
      random: seededRandom(1),
      latency: { baseMs: 0.1, jitterMs: 5 },
    });
    for (let batchId = 0; batchId < 50; batchId++) {
      session.send({ kind: 'cancel', batchId });
      session.tell({
        kind: 'failure',
        failure: { batchId, error: { code: 'INTERNAL', message: '' }, retryable: false },
      });
    }
    session.end('over');
    session.tell({ kind: 'draining' });
    clock.advance(1000);
    expect(there).toEqual([]);
    expect(back).toEqual([...Array.from({ length: 50 }, (_, i) => i), 4]);
  });
});

describe('a worker', () => {
  const start = (pipelineDepth = 1) => {
    const clock = new VirtualClock();
    const probe = { sent: () => undefined, told: () => undefined, ended: () => undefined };
    const plan = {
      ...{ workerId: 'w0', devices: [{ name: 'cpu', lanes: 1 }], holds: [{ model, instances: 1 }], pipelineDepth },
      ...{ latency: { baseMs: 1, jitterMs: 0 }, speed: 1, tellsProfiles: false },
    };
    const worker = new SimWorker(plan, clock, seededRandom(1), probe);
    const told: string[] = [];
    const text = (message: ToCoordinator): string =>
      message.kind === 'failure'
        ? message.failure.error.code
        : message.kind === 'version'
          ? `${message.status.slots} up`
          : message.kind;
    const events: LinkEvents = {
      message: (message) => told.push(`${clock.nowMs()} ${text(message)}`),
      closed: (reason) => told.push(`${clock.nowMs()} closed: ${reason}`),
    };
    const open = () => worker.open(events);
    const batch = (batchId: number, budgetUs = Number.POSITIVE_INFINITY): Batch => {
      const { data } = requestTensor(batchId, 1, 2);
      const inputs = [{ name: 'x', datatype: 'UINT32' as const, shape: [1, 2], parts: [data], byteLength: 8 }];
      return {
        batchId,
        model: 'm',
        version: '1',
        rows: 1,
        device: '',
        inputs,
        outputs: [],
        budgetUs,
        traceparent: '',
        attempt: 1,
      };
    };
    const execute = (session: ReturnType<typeof open>, batchId: number, budgetUs?: number): void =>
      session.send({ kind: 'execute', batch: batch(batchId, budgetUs) });
    return { clock, worker, told, open, execute };
  };

  it('says hello after `open` has returned, and runs batches one after the other', () => {
    const { clock, told, open, execute } = start();
    const session = open();
    expect(told).toEqual([]);
    clock.advance(4);
    execute(session, 1);
    execute(session, 2);
    clock.advance(40);
    // 1 ms there, 10 ms of execution each, 1 ms back.
    expect(told).toEqual(['1 hello', '16 result', '26 result']);
  });

  it('gives back what waits and is cancelled, and what waited beyond its budget', () => {
    const { clock, told, open, execute } = start();
    const session = open();
    execute(session, 1);
    execute(session, 2);
    execute(session, 3, 5000);
    session.send({ kind: 'cancel', batchId: 2 });
    clock.advance(40);
    expect(told).toEqual(['1 hello', '2 CANCELLED', '12 result', '12 DEADLINE_EXPIRED']);
  });

  it('dies without an answer, is not there, and comes back', () => {
    const { clock, worker, told, open, execute } = start();
    execute(open(), 1);
    clock.advance(5);
    worker.die(100);
    clock.advance(5);
    open();
    clock.advance(95);
    open();
    clock.advance(5);
    expect(told).toEqual(['1 hello', '6 closed: the process died', '11 closed: nobody listens there', '106 hello']);
  });

  it('stands still, and goes on where it was; a long silence costs it its link', () => {
    const { clock, worker, told, open, execute } = start();
    const session = open();
    execute(session, 1);
    clock.advance(6);
    worker.stall(100);
    execute(session, 2);
    clock.advance(194);
    expect(told).toEqual(['1 hello', '112 result', '122 result']);
    worker.stall(5000);
    clock.advance(5000);
    expect(told.slice(3)).toEqual(['2200 closed: it fell silent']);
  });

  it('drains: says so, finishes, refuses what comes, leaves', () => {
    const { clock, worker, told, open, execute } = start();
    const session = open();
    execute(session, 1);
    clock.advance(2);
    worker.drain();
    execute(session, 2);
    clock.advance(100);
    expect(told).toEqual(['1 hello', '3 draining', '4 DRAINING', '12 result', '23 closed: it has drained']);
  });

  it('loses an executor, with the batch that it ran, and gets it back', () => {
    const { clock, worker, told, open, execute } = start();
    const session = open();
    execute(session, 1);
    execute(session, 2);
    clock.advance(5);
    worker.crashExecutor(0, 50);
    clock.advance(100);
    expect(told).toEqual(['1 hello', '6 EXECUTOR_CRASHED', '6 MODEL_NOT_READY', '6 0 up', '56 1 up']);
  });

  it('runs slower for a while', () => {
    const { clock, worker, told, open, execute } = start();
    const session = open();
    worker.slowDown(0.1, 51);
    execute(session, 1);
    clock.advance(100);
    // 50 ms of it at a tenth of its speed, then the rest.
    expect(told).toEqual(['1 hello', '57 result']);
  });
});

describe('load', () => {
  const mix = { model: always(model) };
  const run = (plan: LoadPlan, answerAfterMs: number, durationMs = 100_000) => {
    const clock = new VirtualClock();
    const asked: { atMs: number; plan: RequestPlan }[] = [];
    startLoad(plan, durationMs, clock, seededRandom(3), (request, answered) => {
      asked.push({ atMs: clock.nowMs(), plan: request });
      clock.after(answerAfterMs, answered);
    });
    clock.advance(10 * durationMs);
    expect(clock.pendingTimers).toBe(0);
    return asked;
  };

  it('comes at the rate it should, in bursts too, and ends', () => {
    const even = run({ kind: 'open', mix, ratePerS: 100 }, 1);
    expect(even.length).toBeGreaterThan(9_600);
    expect(even.length).toBeLessThan(10_400);
    const bursts = { onMs: 100, offMs: 300 };
    const uneven = run({ kind: 'open', mix, ratePerS: 100, bursts }, 1);
    expect(uneven.length).toBeGreaterThan(8_500);
    expect(uneven.length).toBeLessThan(11_500);
    const slots = (asked: typeof even): number => new Set(asked.map(({ atMs }) => Math.floor(atMs / 50))).size;
    expect(slots(uneven)).toBeLessThan(0.6 * slots(even));
    expect(uneven.every(({ atMs }) => atMs <= 100_000)).toBe(true);
  });

  it('waits for answers and thinks, where loops are closed', () => {
    // Ten callers, each 20 ms of waiting and 30 ms of thinking a turn.
    const asked = run({ kind: 'closed', mix, callers: 10, thinkMs: 30 }, 20);
    expect(asked.length).toBeGreaterThan(19_000);
    expect(asked.length).toBeLessThan(21_000);
    expect(run({ kind: 'closed', mix, callers: 1, thinkMs: 0 }, 0, 1000).length).toBeLessThan(1001);
  });

  it('repeats what a trace says', () => {
    const requests = [0, 5, 5, 9].map((atMs, index) => ({ atMs, model, rows: index + 1, allowedMs: 50 }));
    const asked = run({ kind: 'traced', requests }, 1);
    expect(asked.map(({ atMs, plan }) => [atMs, plan.rows, plan.allowedMs])).toEqual([
      [0, 1, 50],
      [5, 2, 50],
      [5, 3, 50],
      [9, 4, 50],
    ]);
  });
});

it('the meter counts only what runs inside', () => {
  let nowMs = 0;
  const meter = new CoordinatorMeter({ nowMs: () => nowMs });
  const take = (ms: number) => (): void => {
    nowMs += ms;
  };
  meter.outside(take(100));
  meter.inside(() => {
    take(1)();
    meter.outside(() => {
      take(50)();
      meter.inside(take(2));
    });
    meter.inside(take(4));
  });
  expect(meter.spentMs).toBe(7);
  expect(meter.crossings).toBe(6);
  expect(meter.elapsedMs).toBe(157);
  meter.reset();
  expect(meter.spentMs).toBe(0);
});
