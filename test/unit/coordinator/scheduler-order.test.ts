import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LaneRun } from '../../../coordinator/scheduling/lane.js';
import { naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../../coordinator/scheduling/piece.js';
import { plainScheduling, Scheduler } from '../../../coordinator/scheduling/scheduler.js';

class Request extends Piece {
  readonly name: string;
  readonly rows: number;
  shapeKey: string;
  readonly deadlineMs = Number.POSITIVE_INFINITY;
  override readonly caller: string;
  override readonly level: number;
  constructor(name: string, rows: number, shapeKey: string, caller: string, level = 0) {
    super();
    this.name = name;
    this.rows = rows;
    this.shapeKey = shapeKey;
    this.caller = caller;
    this.level = level;
  }
}

const maxRows = 4;
const weights: Readonly<Record<string, number>> = { a: 1, b: 3, c: 0.5 };
const weightOf = (caller: string): number => weights[caller] ?? 1;

/** Start-time fair queueing with lists and scans, as the paper has it. */
class SlowFairQueue {
  readonly waiting: Request[] = [];
  readonly #tags = new Map<string, number>();
  #nowTag = 0;

  add(request: Request): void {
    this.#joins(request.caller);
    this.waiting.push(request);
  }

  returned(requests: readonly Request[]): void {
    for (const request of requests.toReversed()) {
      this.#joins(request.caller);
      this.waiting.unshift(request);
      this.#tags.set(request.caller, Math.max(0, this.#tag(request.caller) - request.rows / weightOf(request.caller)));
    }
  }

  remove(request: Request): void {
    this.waiting.splice(this.waiting.indexOf(request), 1);
    if (this.waiting.length > 0) return;
    this.#tags.clear();
    this.#nowTag = 0;
  }

  batch(): Request[] {
    const first = this.#next(this.waiting);
    const taken: Request[] = [];
    let rows = 0;
    for (;;) {
      const next = this.#next(this.waiting.filter((request) => request.shapeKey === first?.shapeKey));
      if (next === undefined || (taken.length > 0 && rows + next.rows > maxRows)) return taken;
      this.#nowTag = Math.max(this.#nowTag, this.#tag(next.caller));
      this.#tags.set(next.caller, this.#tag(next.caller) + next.rows / weightOf(next.caller));
      this.remove(next);
      taken.push(next);
      rows += next.rows;
    }
  }

  #tag(caller: string): number {
    return this.#tags.get(caller) ?? 0;
  }

  #joins(caller: string): void {
    if (this.waiting.some((other) => other.caller === caller)) return;
    this.#tags.set(caller, Math.max(this.#tag(caller), this.#nowTag));
  }

  /** Of each caller and shape only the first in line counts; of those the least tag, then the oldest. */
  #next(among: readonly Request[]): Request | undefined {
    const heads = new Map<string, Request>();
    for (const request of among) {
      const line = `${request.caller} ${request.shapeKey}`;
      if (!heads.has(line)) heads.set(line, request);
    }
    return [...heads.values()].sort((x, y) => this.#tag(x.caller) - this.#tag(y.caller) || x.sequence - y.sequence)[0];
  }
}

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      rows: fc.integer({ min: 1, max: 4 }),
      shape: fc.constantFrom('x', 'y'),
      caller: fc.constantFrom('a', 'b', 'c', 'd'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('serve' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), pick: fc.nat() }) },
);

describe('order of service', () => {
  it('is that of a slow fair queue made of lists, whatever fails or is cancelled', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const scheduler = new Scheduler<Request>({ ...plainScheduling, callerWeight: weightOf });
        scheduler.setLane('m', naturalRule(maxRows));
        const slow = new SlowFairQueue();
        const running: { run: LaneRun; pieces: readonly Request[] }[] = [];
        let slots = 0;
        for (const [index, action] of steps.entries()) {
          if (action.do === 'add') {
            const request = new Request(`${action.caller}${index}`, action.rows, action.shape, action.caller);
            scheduler.enqueue('m', request, index);
            slow.add(request);
          } else if (action.do === 'serve') {
            // One more instance, so that exactly one more batch leaves.
            scheduler.offer('m', { workerId: 'w', device: 'cpu', deviceClass: 'cpu', slots: ++slots, depth: 0 }, index);
            const { dispatches } = scheduler.decide(index);
            const expected = slow.waiting.length === 0 ? [] : [slow.batch()];
            expect(dispatches.map(({ pieces }) => pieces.map(({ name }) => name))).toEqual(
              expected.map((pieces) => pieces.map(({ name }) => name)),
            );
            running.push(...dispatches);
            if (dispatches.length === 0) slots--;
            scheduler.offer('m', { workerId: 'w', device: 'cpu', deviceClass: 'cpu', slots, depth: 0 }, index);
          } else if (action.do === 'fail') {
            const [batch] = running.splice(action.pick % Math.max(1, running.length), 1);
            if (batch === undefined) continue;
            slots--;
            scheduler.offer('m', { workerId: 'w', device: 'cpu', deviceClass: 'cpu', slots, depth: 0 }, index);
            scheduler.completed(batch.run, index);
            scheduler.requeue('m', batch.pieces);
            slow.returned(batch.pieces);
          } else {
            const request = slow.waiting[action.pick % Math.max(1, slow.waiting.length)];
            if (request === undefined) continue;
            expect(scheduler.cancel('m', request)).toBe(true);
            slow.remove(request);
          }
        }
        expect(scheduler.queuedPieces('m')).toBe(slow.waiting.length);
      }),
      { numRuns: 2000 },
    );
  });
});

/** Serves a lane batch by batch, as one worker with one instance would, and tells after each who had what. */
function served(
  scheduler: Scheduler<Request>,
  batches: number,
  between: (batch: number) => void = () => undefined,
): (readonly Request[])[] {
  scheduler.offer('m', { workerId: 'w', device: 'cpu', deviceClass: 'cpu', slots: 1, depth: 0 }, 0);
  return Array.from({ length: batches }, (_, batch) => {
    between(batch);
    const { dispatches } = scheduler.decide(batch);
    for (const { run } of dispatches) scheduler.completed(run, batch);
    return dispatches.flatMap(({ pieces }) => pieces);
  });
}

/** The most by which two backlogged parties' shares, rows over weight, grow apart over any run of batches. */
function widestGap(batches: readonly (readonly Request[])[], gain: (request: Request) => number): number {
  let sum = 0;
  let least = 0;
  let most = 0;
  for (const batch of batches) {
    for (const request of batch) sum += gain(request);
    least = Math.min(least, sum);
    most = Math.max(most, sum);
  }
  return most - least;
}

describe('fairness', () => {
  const weight = fc.constantFrom(0.5, 1, 2, 3, 10);
  const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 120, maxLength: 120 });

  it('keeps two backlogged callers within their largest request of their weights over any interval', () => {
    fc.assert(
      fc.property(weight, weight, sizes, sizes, (weightA, weightB, rowsA, rowsB) => {
        const callerWeight = (caller: string): number => (caller === 'a' ? weightA : weightB);
        const scheduler = new Scheduler<Request>({ ...plainScheduling, callerWeight });
        scheduler.setLane('m', naturalRule(8));
        for (const [i, rows] of rowsA.entries()) scheduler.enqueue('m', new Request(`a${i}`, rows, '', 'a'), 0);
        for (const [i, rows] of rowsB.entries()) scheduler.enqueue('m', new Request(`b${i}`, rows, '', 'b'), 0);
        // Both have at least 120 rows, so for 10 batches of at most 8 both are backlogged.
        const gap = widestGap(served(scheduler, 10), ({ caller, rows }) =>
          caller === 'a' ? rows / weightA : -rows / weightB,
        );
        // Goyal, Vin, Cheng 1996, theorem 1.
        expect(gap).toBeLessThanOrEqual(4 / weightA + 4 / weightB + 1e-9);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps them within one batch of it when they have different shapes', () => {
    fc.assert(
      fc.property(weight, weight, sizes, sizes, (weightA, weightB, rowsA, rowsB) => {
        const callerWeight = (caller: string): number => (caller === 'a' ? weightA : weightB);
        const scheduler = new Scheduler<Request>({ ...plainScheduling, callerWeight });
        scheduler.setLane('m', naturalRule(8));
        for (const [i, rows] of rowsA.entries()) scheduler.enqueue('m', new Request(`a${i}`, rows, 'x', 'a'), 0);
        for (const [i, rows] of rowsB.entries()) scheduler.enqueue('m', new Request(`b${i}`, rows, 'y', 'b'), 0);
        const gap = widestGap(served(scheduler, 14), ({ caller, rows }) =>
          caller === 'a' ? rows / weightA : -rows / weightB,
        );
        expect(gap).toBeLessThanOrEqual(8 / weightA + 8 / weightB + 1e-9);
      }),
      { numRuns: 300 },
    );
  });

  it('gives a caller who was away no credit, and one who floods no advantage', () => {
    const scheduler = new Scheduler<Request>();
    scheduler.setLane('m', naturalRule(8));
    for (let i = 0; i < 400; i++) scheduler.enqueue('m', new Request(`f${i}`, 1, '', 'flood'), 0);
    let sent = 0;
    const batches = served(scheduler, 40, (batch) => {
      // The other one is away for twenty batches, then always has four rows waiting.
      if (batch < 20) return;
      while (sent < 4 * (batch - 19)) scheduler.enqueue('m', new Request(`q${sent++}`, 1, '', 'quiet'), 0);
    });
    const shares = batches.map((batch) => batch.filter(({ caller }) => caller === 'quiet').length);
    expect(shares.slice(0, 20)).toEqual(Array(20).fill(0));
    expect(shares.slice(20)).toEqual(Array(20).fill(4));
  });

  it('shares a model four to one between neighbouring levels', () => {
    const scheduler = new Scheduler<Request>();
    scheduler.setLane('m', naturalRule(5, { priorityLevels: 2, defaultPriorityLevel: 2 }));
    for (let i = 0; i < 200; i++) {
      scheduler.enqueue('m', new Request(`low${i}`, 1, '', 'a', 2), 0);
      scheduler.enqueue('m', new Request(`high${i}`, 1, '', 'b', 1), 0);
    }
    const high = served(scheduler, 30).map((batch) => batch.filter(({ level }) => level === 1).length);
    expect(high).toEqual(Array(30).fill(4));
  });

  it('keeps the order within one caller, whatever others do', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ rows: fc.integer({ min: 1, max: 4 }), caller: fc.constantFrom('a', 'b', 'c') }), {
          maxLength: 60,
        }),
        (requests) => {
          const scheduler = new Scheduler<Request>({ ...plainScheduling, callerWeight: weightOf });
          scheduler.setLane('m', naturalRule(6));
          for (const [i, { rows, caller }] of requests.entries()) {
            scheduler.enqueue('m', new Request(`${i}`, rows, '', caller), 0);
          }
          const order = served(scheduler, 60).flat();
          expect(order).toHaveLength(requests.length);
          for (const caller of ['a', 'b', 'c']) {
            const own = order.filter((request) => request.caller === caller).map(({ sequence }) => sequence);
            expect(own).toEqual(own.toSorted((x, y) => x - y));
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
