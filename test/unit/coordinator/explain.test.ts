import { describe, expect, it } from 'vitest';
import { explainLane } from '../../../coordinator/explain.js';
import { Lane } from '../../../coordinator/scheduling/lane.js';
import { type LaneRule, naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../../coordinator/scheduling/piece.js';
import { Scheduler } from '../../../coordinator/scheduling/scheduler.js';
import type { CloseReason } from '../../../coordinator/serving.js';

class Request extends Piece {
  readonly rows = 2;
  readonly deadlineMs = Number.POSITIVE_INFINITY;
  shapeKey: string;
  override readonly caller: string;
  constructor(caller: string, shapeKey: string) {
    super();
    this.caller = caller;
    this.shapeKey = shapeKey;
  }
}

/** A lane with one worker, after so many batches of so many rows. */
function lane(rule: LaneRule, closes: readonly (readonly [CloseReason, batches: number, rows: number])[]): Lane {
  const scheduler = new Scheduler();
  scheduler.setLane('m/1', rule);
  scheduler.offer('m/1', { workerId: 'reef', device: 'cpu', deviceClass: 'cpu', slots: 1, depth: 1 }, 0);
  const made = scheduler.lane('m/1');
  if (made === undefined) throw new Error('The lane was just made.');
  for (const [reason, batches, rows] of closes) {
    for (let i = 0; i < batches; i++) made.tally.closed(reason, rows);
  }
  return made;
}

const batched = naturalRule(8);
const hintOf = (of: Lane): string => explainLane('m', '1', 'ready', of).hint;
const seeded = (rows8Ms: number): Lane => {
  const full = lane(batched, [['full', 100, 8]]);
  full.profiles.ofClass('cpu').seed([
    { rows: 1, ms: 10 },
    { rows: 4, ms: 10 + (3 * (rows8Ms - 10)) / 7 },
    { rows: 8, ms: rows8Ms },
  ]);
  return full;
};

describe('hints', () => {
  it.each<readonly [about: string, Lane, RegExp]>([
    ['nobody to serve', new Lane('m/1', batched, () => 0), /^No worker has it ready/],
    ['nothing yet', lane(batched, []), /^No batch has been executed yet/],
    ['no batching', lane(naturalRule(0), [['unbatched', 9, 1]]), /takes one request at a time; a free batch axis/],
    ['full, and more would pay', seeded(12), /^100 % of the batches are full, .*raise max_batch_size, or add workers/],
    ['full, and the device is the limit', seeded(80), /^100 % of the batches are full: the devices are the limit/],
    [
      'delay',
      lane(batched, [
        ['delay', 6, 2],
        ['idle', 4, 1],
      ]),
      /^60 % .*leave with 1\.6 rows: a shorter delay/,
    ],
    [
      'deadlines',
      lane(batched, [
        ['deadline', 3, 2],
        ['idle', 7, 1],
      ]),
      /^30 % .*kept small by deadlines/,
    ],
    [
      'all is well',
      lane(batched, [['idle', 10, 1]]),
      /^An instance is free .*\(1\.0 rows a batch\).*nothing needs to change/,
    ],
  ])('%s', (_about, of, hint) => {
    expect(hintOf(of)).toMatch(hint);
  });

  it.each<readonly [about: string, change: (of: Lane) => void, RegExp]>([
    [
      'refused',
      (of) => void Object.assign(of.tally, { refused: 40 }),
      /^40 requests could not be answered within their deadlines/,
    ],
    ['shed and expired', (of) => void Object.assign(of.tally, { shed: 3, expired: 4 }), /^7 requests could not/],
    [
      'shapes',
      (of) => void Object.assign(of.tally.lost, { shape: 11 }),
      /^Batches left 11 times .*another shape.*sequence_buckets/,
    ],
    [
      'versions',
      (of) => void Object.assign(of.tally.lost, { version: 11 }),
      /^Batches left 11 times .*another version/,
    ],
    [
      'priorities',
      (of) => void Object.assign(of.tally.lost, { priority: 4 }),
      /^4 requests were overtaken by more urgent ones/,
    ],
    [
      'a slow worker',
      (of) => {
        for (const capacity of of.capacities.values()) capacity.speed = 3.04;
      },
      /^Worker reef takes 3\.0 times as long as the others/,
    ],
  ])('%s', (_about, change, hint) => {
    const of = lane(batched, [['idle', 10, 1]]);
    change(of);
    expect(hintOf(of)).toMatch(hint);
  });

  it('a few requests too late among many are no reason for one', () => {
    const of = lane(batched, [['idle', 1000, 1]]);
    of.tally.refused = 9;
    expect(hintOf(of)).toMatch(/nothing needs to change/);
  });
});

describe('facts', () => {
  it('tell what was counted, and who waits', () => {
    const scheduler = new Scheduler<Request>();
    scheduler.setLane('m/1', batched);
    for (const [caller, shape] of [
      ['a', 'x'],
      ['a', 'x'],
      ['a', 'y'],
      ['b', 'x'],
    ] as const) {
      scheduler.enqueue('m/1', new Request(caller, shape), 0);
    }
    const of = scheduler.lane('m/1');
    if (of === undefined) throw new Error('The lane was just made.');
    of.tally.closed('idle', 1);
    of.tally.closed('full', 8);
    of.tally.closed('full', 8);
    expect(explainLane('m', '1', 'ready', of)).toMatchObject({
      meanRows: 17 / 3,
      closes: [
        { reason: 'full', batches: 2, rows: 16 },
        { reason: 'idle', batches: 1, rows: 1 },
      ],
      callers: [
        { caller: 'a', level: 0, requests: 3, rows: 6 },
        { caller: 'b', level: 0, requests: 1, rows: 2 },
      ],
      shapes: [
        { shape: 'x', requests: 3, rows: 6 },
        { shape: 'y', requests: 1, rows: 2 },
      ],
    });
  });
});
