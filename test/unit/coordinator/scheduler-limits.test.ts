import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LaneRule, naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../../coordinator/scheduling/piece.js';
import { type Dispatch, Scheduler } from '../../../coordinator/scheduling/scheduler.js';
import type { BatchingRule, Resource } from '../../../core/model.js';

class Request extends Piece {
  readonly lane: string;
  readonly rows: number;
  shapeKey: string;
  readonly deadlineMs: number;
  override readonly caller: string;
  override readonly level: number;
  override readonly patienceMs: number;
  override readonly yields: boolean;
  constructor(lane: string, nowMs: number, made: Made) {
    super();
    this.lane = lane;
    this.rows = made.rows;
    this.shapeKey = made.shape;
    this.deadlineMs = nowMs + (made.budget ?? Number.POSITIVE_INFINITY);
    this.caller = made.caller;
    this.level = made.level;
    this.patienceMs = nowMs + (made.patience ?? Number.POSITIVE_INFINITY);
    this.yields = made.yields;
  }
}

interface Made {
  readonly rows: number;
  readonly shape: string;
  readonly caller: string;
  readonly level: number;
  readonly budget: number | null;
  readonly patience: number | null;
  readonly yields: boolean;
}

interface World {
  readonly concurrency: number;
  readonly amounts: Readonly<Record<string, number>>;
  /** For each of the lanes a, b and c. */
  readonly resources: readonly (readonly Resource[])[];
  readonly priorityMode: BatchingRule['priorityMode'];
  readonly maxRows: number;
  readonly slots: number;
  readonly depth: number;
}

const lanes = ['a', 'b', 'c'];
const workers = ['w1', 'w2'];

const made = fc.record({
  rows: fc.integer({ min: 1, max: 4 }),
  shape: fc.constantFrom('x', 'y'),
  caller: fc.constantFrom('p', 'q'),
  level: fc.constantFrom(1, 2),
  budget: fc.option(fc.integer({ min: 1, max: 20 }), { freq: 3 }),
  patience: fc.option(fc.integer({ min: 1, max: 20 }), { freq: 2 }),
  yields: fc.boolean(),
});
const resource = fc.record({
  name: fc.constantFrom('r', 's'),
  count: fc.integer({ min: 1, max: 3 }),
  global: fc.boolean(),
});
const oneOfEach = fc.uniqueArray(resource, { maxLength: 2, selector: ({ name, global }) => `${name}${global}` });
const plain = {
  priorityMode: fc.constantFrom('strict' as const, 'weighted' as const),
  maxRows: fc.constantFrom(0, 4),
  slots: fc.integer({ min: 1, max: 3 }),
  depth: fc.integer({ min: 0, max: 2 }),
};
const nobodysResources: readonly (readonly Resource[])[] = [[], [], []];
/** Devices take one execution at a time, or two, or any. */
const limitedDevices = fc.record({
  ...plain,
  concurrency: fc.integer({ min: 0, max: 2 }),
  amounts: fc.constant<Record<string, number>>({}),
  resources: fc.constant(nobodysResources),
});
const limitedResources = fc.record({
  ...plain,
  concurrency: fc.constantFrom(0, 2),
  amounts: fc.constantFrom<Record<string, number>>({}, { r: 2 }, { r: 1, s: 4 }),
  resources: fc.array(oneOfEach, { minLength: 3, maxLength: 3 }),
});

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('add' as const), lane: fc.constantFrom(...lanes), made }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('complete' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), pick: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('reload' as const),
      lane: fc.constantFrom(...lanes),
      worker: fc.constantFrom(...workers),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.integer({ min: 0, max: 6 }) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Drives a scheduler and keeps books of its own, with lists and scans. */
class Bookkeeper {
  readonly #world: World;
  readonly #scheduler: Scheduler<Request>;
  readonly #rules = new Map<string, LaneRule>();
  readonly #waiting = new Set<Request>();
  readonly #left = new Map<Request, string>();
  #running: Dispatch<Request>[] = [];
  /** Of runs on what was unloaded meanwhile the device is still busy, but the new place knows nothing. */
  readonly #orphans = new Set<Dispatch<Request>>();
  #nowMs = 0;
  #added = 0;

  constructor(world: World) {
    this.#world = world;
    this.#scheduler = new Scheduler<Request>({
      deviceConcurrency: world.concurrency,
      resources: world.amounts,
      callerWeight: () => 1,
      doorMs: () => 0,
    });
    for (const [index, lane] of lanes.entries()) {
      const rule = {
        ...naturalRule(world.maxRows, {
          priorityLevels: 2,
          defaultPriorityLevel: 2,
          priorityMode: world.priorityMode,
        }),
        resources: world.resources[index] ?? [],
      };
      this.#rules.set(lane, rule);
      this.#scheduler.setLane(lane, rule);
      for (const worker of workers) this.#offer(lane, worker);
    }
  }

  act(action: Step): void {
    switch (action.do) {
      case 'add': {
        const request = new Request(action.lane, this.#nowMs, action.made);
        this.#added++;
        this.#waiting.add(request);
        this.#scheduler.enqueue(action.lane, request, this.#nowMs);
        break;
      }
      case 'complete':
        this.#ends(action.pick);
        break;
      case 'fail': {
        const batch = this.#ends(action.pick);
        const again = batch?.pieces.filter((piece) => piece.deadlineMs > this.#nowMs) ?? [];
        for (const piece of again) {
          piece.attempt++;
          this.#left.delete(piece);
          this.#waiting.add(piece);
        }
        if (batch !== undefined) this.#scheduler.requeue(batch.laneKey, again);
        break;
      }
      case 'cancel': {
        const piece = [...this.#waiting][action.pick % Math.max(1, this.#waiting.size)];
        if (piece === undefined) break;
        expect(this.#scheduler.cancel(piece.lane, piece)).toBe(true);
        this.#leave(piece, 'cancelled');
        break;
      }
      case 'reload':
        this.#scheduler.withdraw(action.lane, action.worker);
        for (const batch of this.#running) {
          if (batch.laneKey === action.lane && batch.workerId === action.worker) this.#orphans.add(batch);
        }
        this.#offer(action.lane, action.worker);
        break;
      case 'tick':
        this.#nowMs += action.ms;
        break;
    }
    this.decide();
  }

  decide(): void {
    const { dispatches, expired, timedOut, hopeless, wakeAtMs } = this.#scheduler.decide(this.#nowMs);
    expect(hopeless).toEqual([]);
    for (const piece of expired) {
      expect(piece.deadlineMs).toBeLessThanOrEqual(this.#nowMs);
      this.#leave(piece, 'expired');
    }
    for (const piece of timedOut) {
      expect(piece.patienceMs).toBeLessThanOrEqual(this.#nowMs);
      expect(piece.yields).toBe(false);
      this.#leave(piece, 'timed out');
    }
    for (const dispatch of dispatches) this.#check(dispatch);
    this.#checkLimits();
    const earliest = Math.min(...[...this.#waiting].map((piece) => piece.expiresMs));
    expect(earliest).toBeGreaterThan(this.#nowMs);
    // There is no delay and no profile, so that nothing but this is to be woken for.
    expect(wakeAtMs).toBe(earliest);
    for (const lane of lanes) {
      const waiting = [...this.#waiting].filter((piece) => piece.lane === lane);
      expect(this.#scheduler.queuedPieces(lane)).toBe(waiting.length);
      expect(this.#scheduler.queuedRows(lane)).toBe(waiting.reduce((sum, { rows }) => sum + rows, 0));
    }
  }

  /** Nothing waits before an instance that is idle on a device with room. */
  checkWorkConserved(): void {
    const { concurrency, slots } = this.#world;
    for (const lane of new Set([...this.#waiting].map((piece) => piece.lane))) {
      for (const worker of workers) {
        const free = this.#own(lane, worker).length < slots;
        const full = concurrency > 0 && this.#executing(worker).length >= concurrency;
        if (free) expect(full, `${lane} waits before idle ${worker}`).toBe(true);
      }
    }
  }

  /** With nothing new, everything is served or runs out of time: nobody is forgotten. */
  runToTheEnd(): void {
    for (let turn = 0; this.#running.length > 0; turn++) {
      expect(turn).toBeLessThan(1000);
      this.#ends(turn);
      this.decide();
    }
    expect([...this.#waiting]).toEqual([]);
    expect(this.#left.size).toBe(this.#added);
  }

  #offer(lane: string, workerId: string): void {
    const { slots, depth } = this.#world;
    this.#scheduler.offer(lane, { workerId, device: 'cpu', deviceClass: 'cpu', slots, depth }, this.#nowMs);
  }

  #leave(piece: Request, door: string): void {
    expect(this.#left.get(piece), 'leaves once').toBe(undefined);
    expect(this.#waiting.delete(piece)).toBe(true);
    this.#left.set(piece, door);
  }

  #ends(pick: number): Dispatch<Request> | undefined {
    const executing = workers.flatMap((worker) => this.#executing(worker));
    const batch = executing[pick % Math.max(1, executing.length)];
    if (batch === undefined) return undefined;
    this.#running = this.#running.filter((other) => other !== batch);
    this.#scheduler.completed(batch.run, this.#nowMs);
    this.#orphans.delete(batch);
    return batch;
  }

  #own(lane: string, worker: string): Dispatch<Request>[] {
    return this.#running.filter(
      (batch) => batch.laneKey === lane && batch.workerId === worker && !this.#orphans.has(batch),
    );
  }

  /** As many as there are instances; those behind a running batch do not execute yet. */
  #executing(worker: string): Dispatch<Request>[] {
    const { slots } = this.#world;
    return lanes.flatMap((lane) => {
      const old = [...this.#orphans].filter((batch) => batch.laneKey === lane && batch.workerId === worker);
      return [...old.slice(0, slots), ...this.#own(lane, worker).slice(0, slots)];
    });
  }

  #check(dispatch: Dispatch<Request>): void {
    const { laneKey, workerId, pieces, rows, reason } = dispatch;
    const { maxRows, slots, depth } = this.#world;
    const [first] = pieces;
    expect(first).toBeDefined();
    for (const piece of pieces) {
      expect(piece.lane).toBe(laneKey);
      expect(piece.shapeKey).toBe(first?.shapeKey);
      expect(piece.deadlineMs).toBeGreaterThan(this.#nowMs);
      this.#leave(piece, 'dispatched');
    }
    expect(rows).toBe(pieces.reduce((sum, piece) => sum + piece.rows, 0));
    if (maxRows === 0) expect(pieces).toHaveLength(1);
    else expect(rows).toBeLessThanOrEqual(maxRows);
    const before = this.#own(laneKey, workerId).length;
    expect(before).toBeLessThan(slots * (1 + depth));
    if (before >= slots) expect(['full', 'unbatched']).toContain(reason);
    this.#running.push(dispatch);
    const rivals = [...this.#waiting].filter((piece) => piece.lane === laneKey && piece.shapeKey === first?.shapeKey);
    const isLate = (piece: Request): boolean => piece.yields && piece.patienceMs <= this.#nowMs;
    for (const served of pieces) {
      if (isLate(served)) continue;
      for (const rival of rivals) {
        if (isLate(rival)) continue;
        if (this.#world.priorityMode === 'strict') expect(rival.level).toBeGreaterThanOrEqual(served.level);
        if (rival.attempt > 1 || served.attempt > 1) continue;
        if (rival.caller === served.caller && rival.level === served.level) {
          expect(rival.sequence).toBeGreaterThan(served.sequence);
        }
      }
    }
  }

  #checkLimits(): void {
    const { concurrency, amounts } = this.#world;
    const executing = workers.flatMap((worker) => this.#executing(worker));
    for (const worker of workers) {
      if (concurrency > 0) expect(this.#executing(worker).length).toBeLessThanOrEqual(concurrency);
    }
    const users = new Map<string, number[]>();
    for (const { laneKey, workerId } of executing) {
      for (const { name, count, global } of this.#rules.get(laneKey)?.resources ?? []) {
        const where = global ? `${name} everywhere` : `${name} on ${workerId}`;
        users.set(where, [...(users.get(where) ?? []), count]);
      }
    }
    for (const [where, counts] of users) {
      const name = where.slice(0, 1);
      const asked = [...this.#rules.values()].flatMap(({ resources }) => resources.filter((one) => one.name === name));
      const amount = amounts[name] ?? Math.max(...asked.map(({ count }) => count));
      // What asks for more than there is runs alone rather than never.
      if (counts.length > 1)
        expect(
          counts.reduce((a, b) => a + b, 0),
          where,
        ).toBeLessThanOrEqual(amount);
    }
  }
}

describe('limits', () => {
  it('are kept on devices, with no instance idle for nothing and nobody forgotten', () => {
    fc.assert(
      fc.property(limitedDevices, fc.array(step, { maxLength: 60 }), (world, steps) => {
        const books = new Bookkeeper(world);
        for (const action of steps) {
          books.act(action);
          books.checkWorkConserved();
        }
        books.runToTheEnd();
      }),
      { numRuns: 1500 },
    );
  });

  it('are kept for resources, local and global, and nobody is forgotten', () => {
    fc.assert(
      fc.property(limitedResources, fc.array(step, { maxLength: 60 }), (world, steps) => {
        const books = new Bookkeeper(world);
        for (const action of steps) books.act(action);
        books.runToTheEnd();
      }),
      { numRuns: 1500 },
    );
  });
});
