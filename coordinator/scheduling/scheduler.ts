import { DeadlineHeap } from '../../core/deadline-heap.js';
import { invariant } from '../../core/errors.js';
import { pickLeastOutstanding } from '../../loadbalancer/least-outstanding.js';
import type { CloseReason } from '../serving.js';
import { CompanyForecast } from './company-forecast.js';
import { type Piece, PieceQueue } from './piece-queue.js';

/** How pieces of one model version may be put together. */
export interface LaneRule {
  /** Most rows of one batch; 0: every piece is executed alone. */
  readonly maxRows: number;
  /** How long the oldest piece may wait for company while an instance is free. */
  readonly delayMs: number;
  /** Ascending; a batch of such a size does not wait. */
  readonly preferredRows: readonly number[];
}

/** Pieces bound to a worker, to be executed as one. */
export interface Dispatch<P extends Piece> {
  readonly laneKey: string;
  readonly workerId: string;
  readonly pieces: readonly P[];
  readonly rows: number;
  readonly reason: CloseReason;
}

export interface Decision<P extends Piece> {
  readonly dispatches: readonly Dispatch<P>[];
  /** Their deadline passed while they waited; already out of every queue. */
  readonly expired: readonly P[];
  /** When to decide again if nothing else happens; Infinity: never. */
  readonly wakeAtMs: number;
}

interface Capacity {
  readonly workerId: string;
  slots: number;
  depth: number;
  outstanding: number;
}

class Lane {
  readonly key: string;
  rule: LaneRule;
  readonly queues = new Map<string, PieceQueue>();
  readonly workers = new Map<string, Capacity>();
  readonly forecast = new CompanyForecast();
  rows = 0;
  pieces = 0;
  lastPicked = '';

  constructor(key: string, rule: LaneRule) {
    this.key = key;
    this.rule = rule;
  }
}

/**
 * The central queue: one lane per model version, one queue per shape in it. Late binding: a batch is made
 * only when a worker has room for it, so nothing waits behind a slow worker while another idles.
 *
 * Room is of two kinds. A free instance takes whatever may be closed. Behind a busy instance a worker may
 * hold `depth` further batches to hide the link's latency; those must be full, because a batch that could
 * still grow loses by leaving early (two halves take longer than a whole).
 *
 * Pure: no clock, no timer, no I/O. `decide` is to be called after any change.
 */
export class Scheduler<P extends Piece> {
  readonly #lanes = new Map<string, Lane>();
  readonly #dirty = new Set<Lane>();
  readonly #deadlines = new DeadlineHeap<P>();
  /** Lanes that wait for their delay to pass. */
  readonly #delayed = new Set<Lane>();

  setLane(key: string, rule: LaneRule): void {
    const lane = this.#lanes.get(key);
    if (lane === undefined) this.#lanes.set(key, new Lane(key, rule));
    else lane.rule = rule;
  }

  /** Forgets a lane and returns what still waited in it, oldest first within each shape. */
  removeLane(key: string): P[] {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return [];
    const left = this.flush(key);
    this.#lanes.delete(key);
    this.#dirty.delete(lane);
    this.#delayed.delete(lane);
    return left;
  }

  /** Takes everything that waits out of a lane. */
  flush(key: string): P[] {
    const lane = this.#lanes.get(key);
    const left: P[] = [];
    if (lane === undefined) return left;
    for (const queue of [...lane.queues.values()]) {
      while (queue.head !== undefined) {
        const piece = queue.head as P;
        this.#take(lane, queue, piece);
        left.push(piece);
      }
    }
    return left;
  }

  /** What a worker can take of a version: `slots` batches at a time and `depth` full ones behind each. */
  setCapacity(key: string, workerId: string, slots: number, depth: number): void {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return;
    const known = lane.workers.get(workerId);
    if (known === undefined) lane.workers.set(workerId, { workerId, slots, depth, outstanding: 0 });
    else {
      known.slots = slots;
      known.depth = depth;
    }
    this.#dirty.add(lane);
  }

  removeCapacity(key: string, workerId: string): void {
    this.#lanes.get(key)?.workers.delete(workerId);
  }

  queuedRows(key: string): number {
    return this.#lanes.get(key)?.rows ?? 0;
  }

  queuedPieces(key: string): number {
    return this.#lanes.get(key)?.pieces ?? 0;
  }

  /** Nothing waits in any lane. */
  get idle(): boolean {
    for (const lane of this.#lanes.values()) if (lane.pieces > 0) return false;
    return true;
  }

  enqueue(key: string, piece: P, nowMs: number): void {
    const lane = this.#lanes.get(key);
    invariant(lane !== undefined, `lane ${key} exists before pieces are put in it`);
    piece.enqueuedMs = nowMs;
    lane.forecast.arrived(piece.rows, nowMs);
    this.#queueFor(lane, piece).push(piece);
    this.#added(lane, piece);
  }

  /** Puts pieces that were dispatched in vain back to the front, in their old order. */
  requeue(key: string, pieces: readonly P[]): void {
    const lane = this.#lanes.get(key);
    invariant(lane !== undefined, `lane ${key} exists while its pieces are in flight`);
    for (let i = pieces.length - 1; i >= 0; i--) {
      const piece = pieces[i] as P;
      this.#queueFor(lane, piece).unshift(piece);
      this.#added(lane, piece);
    }
  }

  /** Takes a waiting piece out. False when it was not waiting (any more). */
  cancel(key: string, piece: P): boolean {
    const lane = this.#lanes.get(key);
    if (lane === undefined || piece.queue === undefined) return false;
    this.#take(lane, piece.queue, piece);
    return true;
  }

  /** A batch was executed: its callers have their answers. `completed` gives the room back. */
  answered(key: string, rows: number, tookMs: number, nowMs: number): void {
    this.#lanes.get(key)?.forecast.completed(rows, tookMs, nowMs);
  }

  /** A batch sent to this worker was answered, failed or lost. */
  completed(key: string, workerId: string): void {
    const lane = this.#lanes.get(key);
    const capacity = lane?.workers.get(workerId);
    if (lane === undefined || capacity === undefined) return;
    capacity.outstanding--;
    invariant(capacity.outstanding >= 0, `no more batches return from ${workerId} than were sent`);
    this.#dirty.add(lane);
  }

  decide(nowMs: number): Decision<P> {
    const expired: P[] = [];
    for (
      let piece = this.#deadlines.popExpired(nowMs);
      piece !== undefined;
      piece = this.#deadlines.popExpired(nowMs)
    ) {
      const queue = piece.queue;
      if (queue === undefined) continue;
      const lane = this.#laneOf(queue);
      if (lane !== undefined) this.#take(lane, queue, piece);
      expired.push(piece);
    }
    const dispatches: Dispatch<P>[] = [];
    let wakeAtMs = this.#deadlines.earliestMs;
    for (const lane of this.#delayed) this.#dirty.add(lane);
    this.#delayed.clear();
    for (const lane of this.#dirty) {
      const laneWakeMs = this.#serve(lane, nowMs, dispatches);
      if (laneWakeMs === Number.POSITIVE_INFINITY) continue;
      this.#delayed.add(lane);
      wakeAtMs = Math.min(wakeAtMs, laneWakeMs);
    }
    this.#dirty.clear();
    return { dispatches, expired, wakeAtMs };
  }

  /** Makes every batch of this lane that may be made now. Returns when a delay will have passed, or Infinity. */
  #serve(lane: Lane, nowMs: number, dispatches: Dispatch<P>[]): number {
    for (;;) {
      let wakeAtMs = Number.POSITIVE_INFINITY;
      const idle = this.#hasIdle(lane);
      if (!idle && !this.#hasRoomBehind(lane)) return wakeAtMs;
      let chosen: PieceQueue | undefined;
      let chosenRows = 0;
      let chosenReason: CloseReason = 'idle';
      for (const queue of lane.queues.values()) {
        const head = queue.head;
        if (head === undefined) continue;
        if (chosen?.head !== undefined && chosen.head.enqueuedMs <= head.enqueuedMs) continue;
        // With another shape waiting too, the device has something to do while this one's company is on its way.
        const forecast = lane.queues.size === 1 ? lane.forecast : undefined;
        const close = closeRule(lane.rule, queue, idle, nowMs, forecast);
        if (close.reason !== undefined) {
          chosen = queue;
          chosenRows = close.rows;
          chosenReason = close.reason;
        } else {
          wakeAtMs = Math.min(wakeAtMs, close.wakeAtMs);
        }
      }
      if (chosen === undefined) return wakeAtMs;
      const avoid = chosen.head?.avoidWorker ?? '';
      const worker =
        pickLeastOutstanding(this.#idle(lane), avoid, lane.lastPicked) ??
        pickLeastOutstanding(this.#roomBehind(lane), avoid, lane.lastPicked);
      invariant(worker !== undefined, 'a worker with room was seen a moment ago');
      const pieces: P[] = [];
      let rows = 0;
      while (chosen.head !== undefined) {
        const piece = chosen.head as P;
        if (pieces.length > 0 && rows + piece.rows > chosenRows) break;
        this.#take(lane, chosen, piece);
        pieces.push(piece);
        rows += piece.rows;
      }
      worker.outstanding++;
      lane.lastPicked = worker.workerId;
      dispatches.push({ laneKey: lane.key, workerId: worker.workerId, pieces, rows, reason: chosenReason });
    }
  }

  #hasIdle(lane: Lane): boolean {
    for (const worker of lane.workers.values()) if (worker.outstanding < worker.slots) return true;
    return false;
  }

  #hasRoomBehind(lane: Lane): boolean {
    for (const worker of lane.workers.values()) if (worker.outstanding < worker.slots * (1 + worker.depth)) return true;
    return false;
  }

  *#idle(lane: Lane): Iterable<Capacity> {
    for (const worker of lane.workers.values()) if (worker.outstanding < worker.slots) yield worker;
  }

  *#roomBehind(lane: Lane): Iterable<Capacity> {
    for (const worker of lane.workers.values())
      if (worker.outstanding < worker.slots * (1 + worker.depth)) yield worker;
  }

  #queueFor(lane: Lane, piece: P): PieceQueue {
    let queue = lane.queues.get(piece.shapeKey);
    if (queue === undefined) {
      queue = new PieceQueue(piece.shapeKey);
      lane.queues.set(piece.shapeKey, queue);
      this.#laneByQueue.set(queue, lane);
    }
    return queue;
  }

  readonly #laneByQueue = new WeakMap<PieceQueue, Lane>();

  #laneOf(queue: PieceQueue): Lane | undefined {
    return this.#laneByQueue.get(queue);
  }

  #added(lane: Lane, piece: P): void {
    lane.rows += piece.rows;
    lane.pieces++;
    this.#deadlines.add(piece);
    this.#dirty.add(lane);
  }

  /** The one place where a piece leaves its queue. */
  #take(lane: Lane, queue: PieceQueue, piece: P): void {
    queue.remove(piece);
    lane.rows -= piece.rows;
    lane.pieces--;
    this.#deadlines.remove(piece);
    // A shape seen once must not be kept for ever: shapes are the caller's choice.
    if (queue.head === undefined) lane.queues.delete(queue.shapeKey);
  }
}

type Close =
  | { readonly reason: CloseReason; readonly rows: number }
  | { readonly reason: undefined; readonly wakeAtMs: number };

/** May this queue be closed into a batch now, at how many rows, and why? Without a forecast nobody is waited for. */
export function closeRule(
  rule: LaneRule,
  queue: PieceQueue,
  idle: boolean,
  nowMs: number,
  forecast: CompanyForecast | undefined,
): Close {
  if (rule.maxRows === 0) {
    // One piece is a whole batch: it is always full.
    return { reason: 'unbatched', rows: 1 };
  }
  if (queue.rows >= rule.maxRows) return { reason: 'full', rows: rule.maxRows };
  if (!idle) return { reason: undefined, wakeAtMs: Number.POSITIVE_INFINITY };
  if (rule.delayMs === 0) {
    const wakeAtMs = forecast === undefined ? nowMs : holdUntil(rule, queue, nowMs, forecast);
    return wakeAtMs > nowMs ? { reason: undefined, wakeAtMs } : { reason: 'idle', rows: queue.rows };
  }
  const dueMs = (queue.head?.enqueuedMs ?? nowMs) + rule.delayMs;
  if (nowMs >= dueMs) return { reason: 'delay', rows: queue.rows };
  for (let i = rule.preferredRows.length - 1; i >= 0; i--) {
    const preferred = rule.preferredRows[i] ?? 0;
    if (queue.rows >= preferred) return { reason: 'preferred', rows: preferred };
  }
  return { reason: undefined, wakeAtMs: dueMs };
}

/** Until when a batch is held open for callers who are expected back; `nowMs` when holding it would not pay. */
function holdUntil(rule: LaneRule, queue: PieceQueue, nowMs: number, forecast: CompanyForecast): number {
  const { rows, returnMs, untilMs } = forecast.expect(nowMs);
  if (rows === 0 || returnMs >= forecast.fixedMs) return nowMs;
  const joined = Math.min(rule.maxRows, queue.rows + rows);
  const lastStartMs = (queue.head?.deadlineMs ?? Number.POSITIVE_INFINITY) - 2 * forecast.batchMs(joined);
  return Math.min(untilMs, lastStartMs);
}
