import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../../coordinator/scheduling/piece.js';
import { plainScheduling, Scheduler } from '../../../coordinator/scheduling/scheduler.js';

class Row extends Piece {
  readonly rows = 1;
  shapeKey = '';
  readonly deadlineMs = Number.POSITIVE_INFINITY;
  override readonly caller: string;
  override readonly level: number;
  constructor(caller: string, level: number) {
    super();
    this.caller = caller;
    this.level = level;
  }
}

const weights: Readonly<Record<string, number>> = { a: 1, b: 4, c: 0.5 };
const weightOf = (caller: string): number => weights[caller] ?? 1;

interface Waiting {
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

/** What is predicted for one more row of this caller's, and how many are then served before it. */
function aheadOf(caller: string, { a, b, c }: Waiting): { predicted: number; served: number } {
  const scheduler = new Scheduler<Row>({ ...plainScheduling, callerWeight: weightOf });
  scheduler.setLane('m', naturalRule(1));
  for (const [name, count] of Object.entries({ a, b, c })) {
    for (let i = 0; i < count; i++) scheduler.enqueue('m', new Row(name, 0), 0);
  }
  const predicted = scheduler.lane('m')?.share.rowsAhead(0, caller, weightOf(caller), 1) ?? Number.NaN;
  const last = new Row(caller, 0);
  scheduler.enqueue('m', last, 0);
  return { predicted, served: servedBefore(scheduler, last) };
}

describe('rows ahead', () => {
  const few = fc.integer({ min: 0, max: 10 });

  it.each(['a', 'b', 'c'])('of caller %s are what is then served first, when all have enough waiting', (caller) => {
    fc.assert(
      fc.property(few, (own) => {
        const { predicted, served } = aheadOf(caller, { a: 100, b: 100, c: 100, [caller]: own });
        // Taken for sure is one whole turn of the others more than may come first.
        const others = Object.keys(weights).filter((name) => name !== caller);
        const turn = others.reduce((sum, name) => sum + weightOf(name), 0) / weightOf(caller);
        expect(predicted).toBeGreaterThanOrEqual(served - 2);
        expect(predicted).toBeLessThanOrEqual(served + 2 + turn);
      }),
      { numRuns: 20 },
    );
  });

  it.each(['a', 'b', 'c'])('of caller %s are never fewer than that, whatever waits', (caller) => {
    fc.assert(
      fc.property(few, few, few, (a, b, c) => {
        const { predicted, served } = aheadOf(caller, { a, b, c });
        expect(predicted).toBeGreaterThanOrEqual(served - 2);
        expect(predicted).toBeLessThanOrEqual(a + b + c);
      }),
      { numRuns: 200 },
    );
  });

  it.each(['strict', 'weighted'] as const)('count what other levels come first with: %s', (priorityMode) => {
    const scheduler = new Scheduler<Row>();
    scheduler.setLane('m', naturalRule(1, { priorityLevels: 3, defaultPriorityLevel: 3, priorityMode }));
    for (let i = 0; i < 20; i++) for (const level of [1, 2, 3]) scheduler.enqueue('m', new Row('a', level), 0);
    for (const level of [1, 2, 3]) {
      const predicted = scheduler.lane('m')?.share.rowsAhead(level, 'a', 1, 1);
      const last = new Row('a', level);
      const twin = new Scheduler<Row>();
      twin.setLane('m', naturalRule(1, { priorityLevels: 3, defaultPriorityLevel: 3, priorityMode }));
      for (let i = 0; i < 20; i++) for (const other of [1, 2, 3]) twin.enqueue('m', new Row('a', other), 0);
      twin.enqueue('m', last, 0);
      expect(Math.abs(servedBefore(twin, last) - (predicted ?? Number.NaN))).toBeLessThanOrEqual(3);
    }
  });
});

/** How many rows leave before this one, when one leaves at a time. */
function servedBefore(scheduler: Scheduler<Row>, last: Row): number {
  scheduler.offer('m', { workerId: 'w', device: 'cpu', deviceClass: 'cpu', slots: 1, depth: 0 }, 0);
  for (let served = 0; served < 1000; served++) {
    const [dispatch] = scheduler.decide(served).dispatches;
    if (dispatch === undefined) break;
    if (dispatch.pieces.includes(last)) return served;
    scheduler.completed(dispatch.run, served);
  }
  throw new Error('The last row was never served.');
}
