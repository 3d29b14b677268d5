import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../../coordinator/scheduling/piece.js';
import { Scheduler } from '../../../coordinator/scheduling/scheduler.js';

class Row extends Piece {
  readonly rows = 1;
  shapeKey = '';
  readonly deadlineMs: number;
  constructor(deadlineMs: number) {
    super();
    this.deadlineMs = deadlineMs;
  }
}

/** ℓ(b) = 10 + 2b ms, known for 1 and 16 rows. */
const expectMs = (rows: number): number => 10 + 2 * rows;

function busyLane(maxRows: number): { scheduler: Scheduler<Row>; free: () => void } {
  const scheduler = new Scheduler<Row>();
  scheduler.setLane('m', naturalRule(maxRows));
  scheduler.seedProfile('m', 'cpu', [
    { rows: 1, ms: expectMs(1) },
    { rows: 16, ms: expectMs(16) },
  ]);
  scheduler.offer('m', { workerId: 'w', device: 'cpu', deviceClass: 'cpu', slots: 1, depth: 0 }, 0);
  scheduler.enqueue('m', new Row(Number.POSITIVE_INFINITY), 0);
  const [first] = scheduler.decide(0).dispatches;
  return {
    scheduler,
    free: () => {
      if (first === undefined) throw new Error('The first row starts at once.');
      scheduler.answered(first.run, expectMs(1), 0, 12);
      scheduler.completed(first.run, 12);
    },
  };
}

/** What should become of rows with these deadlines at 12 ms, found by trying one size after the other. */
function slowly(deadlines: readonly number[], maxRows: number): { rows: number; givenUp: number[] } {
  const left = deadlines.toSorted((a, b) => a - b);
  const givenUp: number[] = [];
  let limit = Math.min(maxRows, left.length);
  while (left.length > 0) {
    const earliest = left[0] ?? 0;
    const least = Math.max(1, Math.ceil(limit / 2));
    for (let rows = limit; rows >= least; rows--) {
      if (12 + expectMs(rows) <= earliest + 1e-9) return { rows, givenUp };
    }
    givenUp.push(earliest);
    left.shift();
    limit = Math.min(limit, left.length);
  }
  return { rows: 0, givenUp };
}

describe('shedding', () => {
  it('makes the largest batch that is in time for the earliest, and gives up whom half of it could not save', () => {
    const deadlines = fc.array(fc.integer({ min: 13, max: 60 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(deadlines, fc.constantFrom(4, 8, 16), (wanted, maxRows) => {
        const { scheduler, free } = busyLane(maxRows);
        for (const deadlineMs of wanted) scheduler.enqueue('m', new Row(deadlineMs), 1);
        free();
        const { dispatches, hopeless } = scheduler.decide(12);
        const slow = slowly(wanted, maxRows);
        expect(hopeless.map(({ deadlineMs }) => deadlineMs)).toEqual(slow.givenUp);
        expect(dispatches[0]?.rows ?? 0).toBe(slow.rows);
        expect(scheduler.lane('m')?.tally.shed).toBe(slow.givenUp.length);
      }),
      { numRuns: 500 },
    );
  });
});
