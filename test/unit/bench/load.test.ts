import { describe, expect, test } from 'vitest';
import type { CallDone } from '../../../bench/infer-caller.js';
import { LatencyHistogram } from '../../../bench/latency-histogram.js';
import { LoadRun } from '../../../bench/load.js';
import type { LoadJob } from '../../../bench/plan.js';
import type { RecorderSnapshot } from '../../../bench/recorder.js';
import { VirtualClock } from '../../../core/clock.js';

const job: LoadJob = {
  server: '',
  client: 'http2',
  connections: 1,
  metadata: [],
  callers: [],
  load: { kind: 'closed', concurrency: 1 },
  warmupMs: 100,
  durationMs: 1000,
  drainMs: 500,
  deadlineMs: undefined,
  maxInFlight: 1000,
  pacing: 'spin',
  seed: 1,
  payloads: [
    { body: Buffer.of(1), expected: undefined },
    { body: Buffer.of(2), expected: undefined },
  ],
};

interface Played {
  readonly seen: RecorderSnapshot | undefined;
  readonly mostInFlight: number;
  readonly bodies: readonly number[];
  readonly windows: readonly string[];
}

/** Plays a job in virtual time against a server that answers each request after `serviceMs(arrival instant)`. */
function play(
  changes: Partial<LoadJob>,
  serve: (arrivedMs: number, clock: VirtualClock, done: CallDone) => void,
  meanwhile: (run: LoadRun, clock: VirtualClock) => void = () => undefined,
): Played {
  const clock = new VirtualClock();
  let inFlight = 0;
  let mostInFlight = 0;
  let seen: RecorderSnapshot | undefined;
  const bodies: number[] = [];
  const windows: string[] = [];
  const run = new LoadRun(
    { ...job, ...changes },
    {
      clock,
      timers: clock,
      pacer: { at: (dueMs, fire) => void clock.after(dueMs - clock.nowMs(), fire) },
      caller: {
        send: (body, _timeoutMs, done) => {
          mostInFlight = Math.max(mostInFlight, ++inFlight);
          bodies.push(body[0] ?? 0);
          serve(clock.nowMs(), clock, (...answer) => {
            inFlight--;
            done(...answer);
          });
        },
      },
      verify: (body) => (body[0] === 9 ? 'It is nine' : undefined),
      windowOpened: () => windows.push('opened'),
      windowClosed: () => windows.push('closed'),
      finished: (recorder) => {
        seen = recorder.snapshot();
      },
    },
  );
  run.start();
  meanwhile(run, clock);
  clock.advance(10_000);
  return { seen, mostInFlight, bodies, windows };
}

const answeringAfter =
  (serviceMs: number) =>
  (_arrivedMs: number, clock: VirtualClock, done: CallDone): void =>
    void clock.after(serviceMs, () => done('', '', undefined));

function latencyOf(seen: RecorderSnapshot | undefined) {
  const histogram = new LatencyHistogram();
  if (seen !== undefined) histogram.merge(seen.latency);
  return histogram.summary();
}

describe('closed loop', () => {
  test('keeps exactly its number in flight, uses payloads in turn, leaves the warm-up out', () => {
    const { seen, mostInFlight, bodies, windows } = play(
      { load: { kind: 'closed', concurrency: 4 } },
      answeringAfter(10),
    );
    expect(mostInFlight).toBe(4);
    expect(bodies.slice(0, 4)).toEqual([1, 2, 1, 2]);
    expect(windows).toEqual(['opened', 'closed']);
    // 4 in flight, 10 ms each, a window of 1000 ms.
    expect(seen).toMatchObject({ windowMs: 1000, sent: 400, good: 400, answeredInWindow: 400, errors: {} });
    expect(latencyOf(seen)).toMatchObject({ mean: 10_000, max: 10_000 });
  });

  test('errors are counted by code and the loop goes on', () => {
    let n = 0;
    const { seen } = play({}, (_at, clock, done) => {
      clock.after(10, () => (n++ % 2 === 0 ? done('', '', undefined) : done('UNAVAILABLE', `number ${n}`, undefined)));
    });
    expect(seen).toMatchObject({ sent: 100, good: 50, errors: { UNAVAILABLE: { count: 50 } } });
  });

  test('what is not answered by the end of the drain is an error', () => {
    const { seen } = play({ load: { kind: 'closed', concurrency: 3 } }, (at, clock, done) => {
      if (at < 600) clock.after(10, () => done('', '', undefined));
    });
    expect(seen?.errors.UNANSWERED?.count).toBe(3);
    expect(seen?.sent).toBe((seen?.good ?? 0) + 3);
  });

  test('stopping early ends the window there and keeps what was seen', () => {
    const { seen, windows } = play({}, answeringAfter(10), (run, clock) => {
      clock.advance(600);
      run.stop();
    });
    expect(seen).toMatchObject({ windowMs: 500, sent: 50, good: 50 });
    expect(windows).toEqual(['opened', 'closed']);
  });

  test('an answer that is not the expected one is an error of its own', () => {
    const { seen } = play({ payloads: [{ body: Buffer.of(1), expected: [] }] }, (_at, clock, done) => {
      clock.after(10, () => done('', '', Uint8Array.of(9)));
    });
    expect(seen).toMatchObject({ good: 0, errors: { WRONG_ANSWER: { count: 100, first: 'It is nine' } } });
  });
});

describe('open loop', () => {
  const load = { kind: 'open', ratePerS: 500 } as const;

  test('offers its rate whatever the server does', () => {
    const { seen } = play({ load, durationMs: 4000 }, answeringAfter(100));
    expect(seen?.sent).toBe(seen?.good);
    // 2000 expected; a Poisson count has a standard deviation of √2000 ≈ 45.
    expect(Math.abs((seen?.sent ?? 0) - 2000)).toBeLessThan(180);
    expect(latencyOf(seen)).toMatchObject({ mean: 100_000 });
  });

  /** Answers in 1 ms, but nothing at all from 500 to 900 ms. */
  const stalling = (_arrivedMs: number, clock: VirtualClock, done: CallDone): void => {
    const nowMs = clock.nowMs();
    const readyMs = nowMs >= 500 && nowMs < 900 ? 900 : nowMs;
    clock.after(readyMs + 1 - nowMs, () => done('', '', undefined));
  };

  test('a stall shows up in every percentile it touched, not in one sample', () => {
    const open = latencyOf(play({ load, warmupMs: 0 }, stalling).seen);
    const closed = latencyOf(play({ warmupMs: 0 }, stalling).seen);
    // 40 % of the arrivals fall into the stall and wait 200 ms on average.
    expect(open.p90).toBeGreaterThan(250_000);
    expect(open.mean).toBeGreaterThan(60_000);
    // The closed loop sent one request in that time and hides it.
    expect(closed.p90).toBeLessThan(2_000);
  });

  test('arrivals held back above the limit still count their wait', () => {
    const limited = play({ load, warmupMs: 0, maxInFlight: 2 }, stalling);
    const free = play({ load, warmupMs: 0 }, stalling);
    expect(limited.mostInFlight).toBe(2);
    expect(limited.seen?.heldBack).toBeGreaterThan(100);
    expect(limited.seen?.sent).toBe(free.seen?.sent);
    expect(latencyOf(limited.seen).p90).toBeGreaterThanOrEqual(latencyOf(free.seen).p90);
  });

  test('arrivals still held back at the end of the drain are errors, not forgotten', () => {
    const { seen } = play({ load, warmupMs: 0, maxInFlight: 1, drainMs: 10 }, answeringAfter(100));
    expect(seen?.errors.UNANSWERED?.count).toBeGreaterThan(400);
    expect(seen?.sent).toBe((seen?.good ?? 0) + (seen?.errors.UNANSWERED?.count ?? 0));
  });

  test('arrivals that a slow harness never got round to are not forgotten', () => {
    const clock = new VirtualClock();
    let seen: RecorderSnapshot | undefined;
    let pacings = 0;
    new LoadRun(
      { ...job, load, warmupMs: 0 },
      {
        clock,
        timers: clock,
        // Wakes three times, then no more: as a harness that has no time left.
        pacer: { at: (_dueMs, fire) => void (pacings++ < 3 && clock.after(1, fire)) },
        caller: { send: (_body, _timeoutMs, done) => void clock.after(1, () => done('', '', undefined)) },
        verify: () => undefined,
        windowOpened: () => undefined,
        windowClosed: () => undefined,
        finished: (recorder) => {
          seen = recorder.snapshot();
        },
      },
    ).start();
    clock.advance(5000);
    expect(Math.abs((seen?.sent ?? 0) - 500)).toBeLessThan(90);
    expect(latencyOf(seen).p50).toBeGreaterThan(400_000);
  });

  test('a harness that wakes late reports its lag and counts it as latency', () => {
    const clock = new VirtualClock();
    let seen: RecorderSnapshot | undefined;
    new LoadRun(
      { ...job, load, warmupMs: 0 },
      {
        clock,
        timers: clock,
        pacer: { at: (dueMs, fire) => void clock.after(dueMs - clock.nowMs() + 30, fire) },
        caller: { send: (_body, _timeoutMs, done) => void clock.after(1, () => done('', '', undefined)) },
        verify: () => undefined,
        windowOpened: () => undefined,
        windowClosed: () => undefined,
        finished: (recorder) => {
          seen = recorder.snapshot();
        },
      },
    ).start();
    clock.advance(5000);
    const lag = new LatencyHistogram();
    if (seen !== undefined) lag.merge(seen.sendLag);
    expect(lag.summary().max).toBeGreaterThan(29_000);
    expect(latencyOf(seen).mean - lag.summary().mean).toBeCloseTo(1000, -1);
  });
});
