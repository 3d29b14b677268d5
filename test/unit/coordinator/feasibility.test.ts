import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../core/random.js';
import { VirtualRequest, VirtualServing } from '../../support/virtual-serving.js';

const maxRows = 16;
const executeMs = (rows: number): number => 6 + 0.5 * rows;
/** Rows a millisecond that one worker serves in full batches. */
const capacity = maxRows / executeMs(maxRows);
/** About four times a full batch. */
const budgetMs = 60;
const requests = 3000;
/** Until here profiles are learned, and predictions may be wild. */
const learning = 300;

const newcomer = (deadlineMs: number) => ({ caller: '', level: 0, shapeKey: '', rows: 1, deadlineMs });

interface Traffic {
  readonly workers: number;
  readonly load: number;
  readonly burst: number;
  readonly seed: number;
}

/** Who is let in by `predict`, of arrivals that are Poisson or Poisson in bursts. `also` is let in though refused. */
function admitted({ workers, load, burst, seed }: Traffic, also = -1) {
  const noise = seededRandom(seed + 100);
  const serving = new VirtualServing({
    workers,
    maxRows,
    executeMs: (rows) => executeMs(rows) * (0.95 + 0.1 * noise.next()),
  });
  const random = seededRandom(seed);
  const inside: VirtualRequest[] = [];
  const refused: number[] = [];
  let sent = 0;
  let extra: VirtualRequest | undefined;
  const arrive = (): void => {
    const nowMs = serving.clock.nowMs();
    for (let i = 0; i < burst; i++, sent++) {
      const request = new VirtualRequest(nowMs, nowMs + budgetMs);
      const predicted = serving.scheduler.predict('m', newcomer(request.deadlineMs), nowMs);
      const isRefused = predicted !== undefined && predicted > request.deadlineMs;
      if (isRefused && sent >= learning) refused.push(sent);
      if (sent === also) extra = request;
      if (isRefused && sent !== also) continue;
      if (sent >= learning) inside.push(request);
      serving.send(request);
    }
    if (sent < requests) serving.clock.after(random.exponential(burst / (load * capacity * workers)), arrive);
    else lastMs = nowMs;
  };
  let lastMs = 0;
  arrive();
  serving.clock.advance(1e5);
  const inTime = inside.filter((request) => request.isInTime).length;
  const span = lastMs * ((requests - learning) / requests) * capacity * workers;
  return { inside, refused, inTime, extra, missed: 1 - inTime / inside.length, goodput: inTime / span };
}

/** Share of all that came who were refused and would have been in time, had they alone been let in as well. */
function wronged(traffic: Traffic, refused: readonly number[]): number {
  const tried = refused.filter((_, i) => i % Math.ceil(refused.length / 20) === 0);
  return (
    (tried.filter((index) => admitted(traffic, index).extra?.isInTime).length / Math.max(1, tried.length)) *
    (refused.length / (requests - learning))
  );
}

// Bounds are what was measured and some room. `missed`: of those let in; `refused`, and `wronged` among them: of all that
// came. At twice the capacity the door stands at the border all the time, so that many of those refused would just
// have made it; what counts there is that hardly anything but answers in time is executed.
describe('predicted answers', () => {
  it.each([
    { workers: 1, load: 0.7, burst: 1, missed: 0, refused: 0, wronged: 0, goodput: 0.7 },
    { workers: 1, load: 0.9, burst: 1, missed: 0, refused: 0, wronged: 0, goodput: 0.9 },
    { workers: 1, load: 2, burst: 1, missed: 0.07, refused: 0.55, wronged: 0.35, goodput: 0.92 },
    { workers: 1, load: 0.8, burst: 12, missed: 0.01, refused: 0.08, wronged: 0.05, goodput: 0.75 },
    { workers: 3, load: 0.9, burst: 1, missed: 0, refused: 0, wronged: 0, goodput: 0.9 },
    { workers: 3, load: 2, burst: 1, missed: 0.17, refused: 0.55, wronged: 0.45, goodput: 0.85 },
    { workers: 3, load: 0.8, burst: 30, missed: 0.01, refused: 0.02, wronged: 0.02, goodput: 0.75 },
  ])('$workers workers at $load of capacity in bursts of $burst', ({ workers, load, burst, ...bounds }) => {
    const traffic = { workers, load, burst, seed: 1 };
    const outcome = admitted(traffic);
    expect(outcome.missed).toBeLessThanOrEqual(bounds.missed);
    expect(outcome.refused.length / (requests - learning)).toBeLessThanOrEqual(bounds.refused);
    expect(outcome.goodput).toBeGreaterThan(bounds.goodput);
    expect(wronged(traffic, outcome.refused)).toBeLessThanOrEqual(bounds.wronged);
  });

  it('are not given while nothing is known, or nothing was measured for a while', () => {
    const serving = new VirtualServing({ executeMs });
    const predict = () => serving.scheduler.predict('m', newcomer(Number.POSITIVE_INFINITY), serving.clock.nowMs());
    expect(predict()).toBeUndefined();
    serving.send(new VirtualRequest(0));
    serving.clock.advance(50);
    expect(predict()).toBeCloseTo(50 + executeMs(1), 6);
    serving.clock.advance(1000);
    expect(predict()).toBeUndefined();
    expect(serving.scheduler.predict('no such lane', newcomer(10), 0)).toBeUndefined();
  });
});
