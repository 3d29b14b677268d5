import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LaneRun } from '../../../coordinator/scheduling/lane.js';
import { type LaneRule, naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../../coordinator/scheduling/piece.js';
import { Scheduler } from '../../../coordinator/scheduling/scheduler.js';

class Rows extends Piece {
  readonly id: number;
  readonly rows: number;
  shapeKey: string;
  readonly deadlineMs: number;
  constructor(id: number, rows: number, shapeKey = '', deadlineMs = Number.POSITIVE_INFINITY) {
    super();
    this.id = id;
    this.rows = rows;
    this.shapeKey = shapeKey;
    this.deadlineMs = deadlineMs;
  }
}

const natural = naturalRule(8);

const offer = (workerId: string, slots = 1, depth = 0) => ({
  workerId,
  device: 'cpu',
  deviceClass: 'cpu',
  slots,
  depth,
});

function lane(rule: LaneRule = natural): Scheduler<Rows> {
  const scheduler = new Scheduler<Rows>();
  scheduler.setLane('m/1', rule);
  return scheduler;
}

describe('scheduler', () => {
  it('closes at a preferred size without waiting for the delay', () => {
    const scheduler = lane(naturalRule(8, { maxQueueDelayUs: 10000, preferredRows: [2, 4] }));
    scheduler.offer('m/1', offer('w', 1, 0), 0);
    for (let i = 0; i < 5; i++) scheduler.enqueue('m/1', new Rows(i, 1), 0);
    const decision = scheduler.decide(0);
    expect(decision.dispatches.map(({ rows, reason }) => ({ rows, reason }))).toEqual([
      { rows: 4, reason: 'preferred' },
    ]);
  });

  it('says when to decide again while a delay runs', () => {
    const scheduler = lane(naturalRule(8, { maxQueueDelayUs: 10000, preferredRows: [] }));
    scheduler.offer('m/1', offer('w', 1, 0), 0);
    scheduler.enqueue('m/1', new Rows(1, 1), 3);
    expect(scheduler.decide(4)).toMatchObject({ dispatches: [], wakeAtMs: 13 });
    expect(scheduler.decide(13).dispatches).toMatchObject([{ reason: 'delay' }]);
  });

  it('serves the shape whose oldest request has waited longest', () => {
    const scheduler = lane();
    scheduler.enqueue('m/1', new Rows(1, 1, 'a'), 0);
    scheduler.enqueue('m/1', new Rows(2, 1, 'b'), 1);
    scheduler.enqueue('m/1', new Rows(3, 1, 'a'), 1);
    scheduler.offer('m/1', offer('w', 1, 0), 0);
    expect(scheduler.decide(2).dispatches[0]?.pieces.map((piece) => piece.id)).toEqual([1, 3]);
  });

  it('spreads over workers by load, and avoids the one that failed', () => {
    const scheduler = lane({ ...natural, maxRows: 1 });
    scheduler.offer('m/1', offer('a', 2, 0), 0);
    scheduler.offer('m/1', offer('b', 2, 0), 0);
    for (let i = 0; i < 3; i++) scheduler.enqueue('m/1', new Rows(i, 1), 0);
    const retried = new Rows(9, 1);
    retried.avoidWorker = 'b';
    scheduler.enqueue('m/1', retried, 0);
    const chosen = scheduler.decide(0).dispatches.map((dispatch) => dispatch.workerId);
    expect(chosen.slice(0, 3)).toEqual(['a', 'b', 'a']);
    // Only the worker it failed on has room left: better there than nowhere.
    expect(chosen[3]).toBe('b');
    expect(scheduler.queuedPieces('m/1')).toBe(0);
  });

  it('forgets shapes that nobody waits for', () => {
    const scheduler = lane();
    for (let i = 0; i < 1000; i++) {
      const piece = new Rows(i, 1, `shape ${i}`);
      scheduler.enqueue('m/1', piece, 0);
      scheduler.cancel('m/1', piece);
    }
    expect(scheduler.flush('m/1')).toEqual([]);
    expect(scheduler.queuedRows('m/1')).toBe(0);
  });

  // Any order of events: every piece leaves exactly once, by exactly one door, and no rule is broken.
  it('loses nothing, doubles nothing and overfills nothing, whatever happens', () => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          do: fc.constant('add' as const),
          rows: fc.integer({ min: 1, max: 8 }),
          shape: fc.constantFrom('a', 'b', 'c'),
          budget: fc.option(fc.integer({ min: 0, max: 20 })),
        }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), pick: fc.nat() }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('complete' as const), pick: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), worker: fc.constantFrom('w1', 'w2') }) },
      {
        weight: 2,
        arbitrary: fc.record({
          do: fc.constant('capacity' as const),
          worker: fc.constantFrom('w1', 'w2'),
          slots: fc.integer({ min: 0, max: 2 }),
          depth: fc.integer({ min: 0, max: 2 }),
        }),
      },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.integer({ min: 0, max: 6 }) }) },
    );
    const rules = fc.constantFrom(
      natural,
      naturalRule(8, { maxQueueDelayUs: 3000, preferredRows: [4] }),
      naturalRule(0, { maxQueueDelayUs: 0, preferredRows: [] }),
    );
    fc.assert(
      fc.property(rules, fc.array(step, { maxLength: 80 }), (rule, steps) => {
        const scheduler = lane(rule);
        const capacity = new Map<string, { slots: number; depth: number }>();
        const waiting = new Set<Rows>();
        const left = new Map<Rows, string>();
        let running: { worker: string; pieces: readonly Rows[]; run: LaneRun }[] = [];
        let now = 0;
        let nextId = 0;
        const leave = (piece: Rows, door: string): void => {
          expect(left.has(piece), `piece ${piece.id} leaves twice: ${left.get(piece)}, then ${door}`).toBe(false);
          expect(waiting.delete(piece)).toBe(true);
          left.set(piece, door);
        };
        const decide = (): void => {
          const { dispatches, expired, wakeAtMs } = scheduler.decide(now);
          for (const piece of expired) {
            expect(piece.deadlineMs).toBeLessThanOrEqual(now);
            leave(piece, 'expired');
          }
          for (const { workerId, pieces, rows, reason, run } of dispatches) {
            const busy = running.filter((batch) => batch.worker === workerId).length;
            const { slots, depth } = capacity.get(workerId) ?? { slots: 0, depth: 0 };
            expect(busy).toBeLessThan(slots * (1 + depth));
            if (busy >= slots) expect(['full', 'unbatched']).toContain(reason);
            expect(new Set(pieces.map((piece) => piece.shapeKey)).size).toBe(1);
            expect(rows).toBe(pieces.reduce((sum, piece) => sum + piece.rows, 0));
            if (rule.maxRows === 0) expect(pieces).toHaveLength(1);
            else expect(rows).toBeLessThanOrEqual(rule.maxRows);
            for (const piece of pieces) {
              expect(piece.deadlineMs).toBeGreaterThan(now);
              leave(piece, 'dispatched');
            }
            running.push({ worker: workerId, pieces, run });
          }
          for (const piece of waiting) expect(piece.deadlineMs).toBeGreaterThan(now);
          expect(wakeAtMs).toBeGreaterThan(now);
          const idle = [...capacity].some(
            ([worker, { slots }]) => running.filter((batch) => batch.worker === worker).length < slots,
          );
          // Nothing waits before a free instance, unless its delay has yet to pass.
          if (idle && rule.batching.maxQueueDelayUs === 0) expect(waiting.size).toBe(0);
          if (idle)
            for (const piece of waiting)
              expect(piece.enqueuedMs + rule.batching.maxQueueDelayUs / 1000).toBeGreaterThan(now);
          expect(scheduler.queuedPieces('m/1')).toBe(waiting.size);
        };
        for (const action of steps) {
          if (action.do === 'add') {
            const deadline = action.budget === null ? Number.POSITIVE_INFINITY : now + action.budget;
            const piece = new Rows(nextId++, action.rows, rule.maxRows === 0 ? '' : action.shape, deadline);
            waiting.add(piece);
            scheduler.enqueue('m/1', piece, now);
          } else if (action.do === 'cancel') {
            const piece = [...waiting][action.pick % Math.max(1, waiting.size)];
            if (piece !== undefined) {
              expect(scheduler.cancel('m/1', piece)).toBe(true);
              leave(piece, 'cancelled');
              expect(scheduler.cancel('m/1', piece)).toBe(false);
            }
          } else if (action.do === 'complete') {
            const [batch] = running.splice(action.pick % Math.max(1, running.length), 1);
            if (batch !== undefined) scheduler.completed(batch.run, now);
          } else if (action.do === 'lose') {
            const lost = running.filter((batch) => batch.worker === action.worker);
            running = running.filter((batch) => batch.worker !== action.worker);
            for (const batch of lost) {
              scheduler.completed(batch.run, now);
              const again = batch.pieces.filter((piece) => piece.deadlineMs > now);
              for (const piece of again) {
                left.delete(piece);
                waiting.add(piece);
              }
              scheduler.requeue('m/1', again);
            }
            scheduler.withdraw('m/1', action.worker);
            capacity.delete(action.worker);
          } else if (action.do === 'capacity') {
            const { worker, slots, depth } = action;
            capacity.set(worker, { slots, depth });
            scheduler.offer('m/1', offer(worker, slots, depth), now);
          } else {
            now += action.ms;
          }
          decide();
        }
        for (const piece of scheduler.removeLane('m/1')) leave(piece, 'flushed');
        expect(waiting.size).toBe(0);
        expect(left.size).toBe(nextId);
      }),
      { numRuns: 1000 },
    );
  });
});
