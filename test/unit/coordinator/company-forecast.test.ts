import { describe, expect, it } from 'vitest';
import { CompanyForecast } from '../../../coordinator/scheduling/company-forecast.js';
import { naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../../coordinator/scheduling/piece.js';
import { type Dispatch, Scheduler } from '../../../coordinator/scheduling/scheduler.js';
import { VirtualClock } from '../../../core/clock.js';
import { seededRandom } from '../../../core/random.js';
import { VirtualRequest, VirtualServing } from '../../support/virtual-serving.js';

describe('company forecast', () => {
  it('expects those back who used to come back, until their time is over', () => {
    const forecast = new CompanyForecast();
    let now = 0;
    for (let i = 0; i < 60; i++) {
      forecast.completed(i % 2 === 0 ? 8 : 6, 10, now);
      for (let row = 1; row <= (i % 2 === 0 ? 8 : 6); row++) forecast.arrived(1, now + row * 0.1);
      now += 30;
    }
    forecast.completed(8, 10, now);
    expect(forecast.expect(now)).toMatchObject({ rows: 8 });
    expect(forecast.expect(now).returnMs).toBeCloseTo(0.7, 1);
    for (let row = 1; row <= 5; row++) forecast.arrived(1, now + row * 0.1);
    expect(forecast.expect(now + 0.5)).toMatchObject({ rows: 3 });
    expect(forecast.expect(now + 1.5)).toMatchObject({ rows: 0 });
  });

  it('expects nobody where nobody ever came back', () => {
    const forecast = new CompanyForecast();
    for (let now = 0; now < 1000; now += 100) forecast.completed(1 + (now % 3), 10, now);
    expect(forecast.expect(901).rows).toBe(0);
  });
});

class Request extends Piece {
  readonly rows = 1;
  shapeKey = '';
  readonly deadlineMs = Number.POSITIVE_INFINITY;
}

/** One instance that takes α + β·rows, and callers in a closed loop, in virtual time. Returns answers a second. */
function closedLoop(options: {
  callers: number;
  fixedMs: number;
  perRowMs: number;
  backAfterMs: () => number;
  maxRows?: number;
}) {
  const clock = new VirtualClock();
  const scheduler = new Scheduler<Request>();
  scheduler.setLane('m', naturalRule(options.maxRows ?? 64));
  scheduler.offer('m', { workerId: 'w', device: 'cpu', deviceClass: 'cpu', slots: 1, depth: 1 }, 0);
  const queue: Dispatch<Request>[] = [];
  let running = false;
  let answered = 0;
  let executed = 0;
  const send = (): void => {
    scheduler.enqueue('m', new Request(), clock.nowMs());
    pump();
  };
  const execute = (dispatch: Dispatch<Request>, sentMs: number): void => {
    running = true;
    clock.after(options.fixedMs + options.perRowMs * dispatch.rows, () => {
      running = false;
      executed++;
      answered += dispatch.rows;
      scheduler.answered(dispatch.run, clock.nowMs() - sentMs, 0, clock.nowMs());
      scheduler.completed(dispatch.run, clock.nowMs());
      for (let i = 0; i < dispatch.rows; i++) clock.after(options.backAfterMs(), send);
      const next = queue.shift();
      if (next !== undefined) execute(next, clock.nowMs());
      pump();
    });
  };
  const pump = (): void => {
    const { dispatches, wakeAtMs } = scheduler.decide(clock.nowMs());
    for (const dispatch of dispatches) {
      if (running) queue.push(dispatch);
      else execute(dispatch, clock.nowMs());
    }
    if (wakeAtMs !== Number.POSITIVE_INFINITY) clock.after(wakeAtMs - clock.nowMs(), pump);
  };
  const random = seededRandom(7);
  for (let i = 0; i < options.callers; i++) clock.after(random.next() * 5, send);
  clock.advance(2000);
  const [startAnswered, startExecuted, startMs] = [answered, executed, clock.nowMs()];
  clock.advance(4000);
  const seconds = (clock.nowMs() - startMs) / 1000;
  return {
    perSecond: (answered - startAnswered) / seconds,
    meanRows: (answered - startAnswered) / (executed - startExecuted),
  };
}

describe('in a closed loop', () => {
  // The measured shape of a 3072→4096→4096→1000 network: 64 rows in 25 ms, and about 0.1 ms to serve a caller.
  const big = { fixedMs: 6, perRowMs: 0.3 };
  const burst = () => {
    const random = seededRandom(3);
    return () => 0.3 + random.next() * 4;
  };

  it.each([2, 8, 32, 64])('keeps %i callers in one batch when they are back before another would pay', (callers) => {
    const { perSecond, meanRows } = closedLoop({ ...big, callers, backAfterMs: burst() });
    expect(meanRows).toBeGreaterThan(0.9 * callers);
    const best = (1000 * callers) / (big.fixedMs + big.perRowMs * callers + 4.3);
    expect(perSecond).toBeGreaterThan(0.95 * best);
  });

  it('never waits for callers who take longer than an execution costs', () => {
    const { perSecond } = closedLoop({ fixedMs: 1, perRowMs: 1, callers: 16, backAfterMs: () => 40 });
    // 16 callers, each 40 ms away: waiting for all would halve this.
    expect(perSecond).toBeGreaterThan(16 / 0.06);
  });

  it('keeps 128 callers in full batches, one of them always ahead', () => {
    const { meanRows } = closedLoop({ ...big, callers: 128, backAfterMs: burst() });
    expect(meanRows).toBeGreaterThan(63);
  });
});

describe('a stall', () => {
  it('does not make anybody wait long afterwards', () => {
    // A closed loop of four whose tenth execution hangs for two seconds.
    let executions = 0;
    const executeMs = (rows: number): number => (++executions === 10 ? 2000 : 6 + 0.3 * rows);
    const serving = new VirtualServing({ executeMs });
    const waitsMs: number[] = [];
    serving.onAnswer = ({ arrivedMs, answeredMs }) => {
      if (executions > 11) waitsMs.push(answeredMs - arrivedMs);
      serving.clock.after(1 + (executions % 2), () => serving.send(new VirtualRequest(serving.clock.nowMs())));
    };
    for (let i = 0; i < 4; i++) serving.send(new VirtualRequest(0));
    serving.clock.advance(5000);
    expect(waitsMs.length).toBeGreaterThan(200);
    // What they wait for one another, and an execution.
    expect(Math.max(...waitsMs)).toBeLessThan(2 * 7.2 + 6);
  });
});

describe('strangers', () => {
  /** Mean latency of Poisson arrivals, of whom nobody comes back. */
  function meanMs(load: number, waits: boolean): number {
    const executeMs = (rows: number): number => 9 + 0.4 * rows;
    const serving = new VirtualServing({ maxRows: 16, executeMs });
    const lane = serving.scheduler.lane('m');
    if (lane !== undefined && !waits) lane.holdUntil = (_rows, nowMs) => nowMs;
    const random = seededRandom(Math.round(100 * load));
    const latenciesMs: number[] = [];
    serving.onAnswer = ({ arrivedMs, answeredMs }) => latenciesMs.push(answeredMs - arrivedMs);
    const next = (): void => {
      serving.send(new VirtualRequest(serving.clock.nowMs()));
      serving.clock.after(random.exponential(executeMs(16) / (16 * load)), next);
    };
    next();
    serving.clock.advance(30_000);
    return latenciesMs.reduce((sum, ms) => sum + ms, 0) / latenciesMs.length;
  }

  it.each([0.1, 0.2, 0.3, 0.4, 0.6])('at %f of the capacity are not taken for callers who return', (load) => {
    expect(meanMs(load, true)).toBeLessThan(1.015 * meanMs(load, false));
  });
});
