import { invariant } from '../../core/errors.js';
import { IndexedHeap } from '../../core/indexed-heap.js';
import { lateLevel } from './fair-share.js';
import type { Lane } from './lane.js';
import { levelWeight } from './lane-rule.js';
import type { Piece } from './piece.js';
import type { ShapeQueue } from './shape-queue.js';

export interface Departures<P extends Piece> {
  /** Their deadline passed. */
  readonly expired: P[];
  /** They waited for as long as their queue policy allows. */
  readonly timedOut: P[];
}

/** Everything that waits, in all lanes. Pieces come in and leave here and nowhere else. */
export class WaitingRoom<P extends Piece> {
  readonly #callerWeight: (caller: string) => number;
  readonly #changed: (lane: Lane) => void;
  readonly #laneByQueue = new WeakMap<ShapeQueue, Lane>();
  readonly #expiring = new IndexedHeap<ShapeQueue>((a, b) => a.earliestMs < b.earliestMs);
  #sequence = 0;
  #pieces = 0;

  /** `changed` is told of every lane that something joins. */
  constructor(callerWeight: (caller: string) => number, changed: (lane: Lane) => void) {
    this.#callerWeight = callerWeight;
    this.#changed = changed;
  }

  get isEmpty(): boolean {
    return this.#pieces === 0;
  }

  /** When somebody has to leave; Infinity: never. */
  get earliestMs(): number {
    return this.#expiring.first?.earliestMs ?? Number.POSITIVE_INFINITY;
  }

  join(lane: Lane, piece: P, nowMs: number): void {
    piece.enqueuedMs = nowMs;
    piece.sequence = ++this.#sequence;
    lane.arrived(piece.rows, nowMs);
    piece.expiresMs = Math.min(piece.deadlineMs, piece.patienceMs);
    this.#put(lane, piece, piece.level, false);
  }

  /** Puts pieces that were served in vain back to the front, in their old order, at nobody's cost. */
  returned(lane: Lane, pieces: readonly P[]): void {
    for (let i = pieces.length - 1; i >= 0; i--) {
      const piece = pieces[i] as P;
      piece.expiresMs = piece.deadlineMs;
      this.#put(lane, piece, piece.level, true);
      const flow = piece.line?.flow;
      if (flow === undefined) continue;
      lane.share.charge(flow, -piece.rows);
      for (const line of flow.lines) line.flowMoved();
    }
  }

  /** Takes one piece out; `served`: its caller's share pays for it. */
  take(lane: Lane, queue: ShapeQueue, piece: Piece, served: boolean): void {
    queue.remove(piece, served);
    lane.rows -= piece.rows;
    lane.pieces--;
    this.#pieces--;
    this.#reorder(queue);
    // A shape seen once must not be kept for ever: shapes are the caller's choice.
    if (queue.pieces === 0) lane.queues.delete(queue.shapeKey);
  }

  /** Takes everything out of a lane, oldest first within each shape. */
  flush(lane: Lane): P[] {
    const left: P[] = [];
    for (const queue of [...lane.queues.values()]) {
      for (let head = queue.head; head !== undefined; head = queue.head) {
        this.take(lane, queue, head, false);
        left.push(head as P);
      }
    }
    return left;
  }

  /** Whose time is up leaves, or lets everybody pass if its policy says so. */
  expire(nowMs: number): Departures<P> {
    const departures: Departures<P> = { expired: [], timedOut: [] };
    for (let queue = this.#expiring.first; queue !== undefined; queue = this.#expiring.first) {
      const piece = queue.expiring.first as P | undefined;
      if (piece === undefined || piece.expiresMs > nowMs) break;
      const lane = this.#laneByQueue.get(queue);
      invariant(lane !== undefined, 'every queue has a lane');
      this.take(lane, queue, piece, false);
      if (piece.deadlineMs <= nowMs) {
        lane.tally.expired++;
        departures.expired.push(piece);
      } else if (piece.yields) {
        piece.expiresMs = piece.deadlineMs;
        this.#put(lane, piece, lateLevel, false);
      } else {
        lane.tally.timedOut++;
        departures.timedOut.push(piece);
      }
    }
    return departures;
  }

  #put(lane: Lane, piece: P, levelNumber: number, inFront: boolean): void {
    const queue = lane.queue(piece.shapeKey);
    if (queue.pieces === 0) this.#laneByQueue.set(queue, lane);
    const level = lane.share.level(levelNumber, levelWeight(lane.rule.batching, levelNumber));
    const flow = level.join(piece.caller, this.#callerWeight(piece.caller));
    if (inFront) queue.unshift(piece, flow);
    else queue.push(piece, flow);
    this.#reorder(queue);
    lane.rows += piece.rows;
    lane.pieces++;
    this.#pieces++;
    this.#changed(lane);
  }

  /** What expires first in this queue may have changed. */
  #reorder(queue: ShapeQueue): void {
    const isExpiring = queue.expiring.size > 0;
    if (queue.heapIndex >= 0) {
      if (isExpiring) this.#expiring.moved(queue);
      else this.#expiring.remove(queue);
    } else if (isExpiring) {
      this.#expiring.add(queue);
    }
  }
}
