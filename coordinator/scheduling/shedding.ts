import type { Lane, LaneCapacity } from './lane.js';
import type { Piece } from './piece.js';
import type { ShapeQueue } from './shape-queue.js';

/** So many ways to divide the queue into those who are given up and those who go are compared at the most. */
const mostCompared = 64;

/**
 * How many rows the next batch of this queue may have so that its earliest deadline is met, `rows` at the most and 0
 * when nothing is left.
 *
 * A batch that would be late for its tightest requests can be made smaller, or go without them. As long as nobody is
 * refused, it is made smaller, down to half: everybody is served in the end. When requests are refused anyway (more is
 * asked than can be done), device time is what is short, and the division is chosen that answers the most rows in time
 * for each millisecond of it. What cannot be met is given up at once: executing it would make the others late for an
 * answer that nobody waits for. `giveUp` has to take a piece out of the queue.
 */
export function rowsInTime(
  lane: Lane,
  queue: ShapeQueue,
  worker: LaneCapacity,
  rows: number,
  startMs: number,
  nowMs: number,
  giveUp: (piece: Piece) => void,
): number {
  // Without a recent measurement somebody has to be the first to try.
  if (queue.mostUrgent === undefined || lane.isStale(nowMs)) return rows;
  const executeMs = (count: number): number => lane.cautiousMs(worker, queue.shapeKey, count);
  /** The most rows, up to `limit`, that are answered before `deadlineMs`; 0: not even one. */
  const mostBy = (deadlineMs: number, limit: number): number =>
    mostRows(limit, (count) => startMs + executeMs(count) + lane.returnMs <= deadlineMs);
  let limit = rows;
  if (mostBy(queue.deadlineMs, limit) === limit) return limit;
  if (lane.isPressed(nowMs)) {
    for (const piece of leastWorth(queue, limit, mostBy, executeMs)) giveUp(piece);
    limit = Math.min(limit, queue.rows);
    return queue.pieces === 0 ? 0 : Math.max(1, mostBy(queue.deadlineMs, limit));
  }
  for (let first = queue.mostUrgent; first !== undefined; first = queue.mostUrgent) {
    const most = mostBy(first.deadlineMs, limit);
    if (most >= Math.max(first.rows, Math.ceil(limit / 2))) return most;
    giveUp(first);
    limit = Math.min(limit, queue.rows);
  }
  return limit;
}

/** The pieces without which the next batch answers the most rows in time for its own time. */
function leastWorth(
  queue: ShapeQueue,
  limit: number,
  mostBy: (deadlineMs: number, limit: number) => number,
  executeMs: (rows: number) => number,
): readonly Piece[] {
  const pieces = queue.expiring.items().sort((a, b) => a.deadlineMs - b.deadlineMs);
  const step = Math.max(1, Math.ceil(pieces.length / mostCompared));
  let left = queue.rows;
  let best = 0;
  let bestCut = 0;
  for (let cut = 0; cut <= pieces.length && left > 0; cut++) {
    if (cut % step === 0 || cut === pieces.length) {
      const deadlineMs = pieces[cut]?.deadlineMs ?? Number.POSITIVE_INFINITY;
      const rows = mostBy(deadlineMs, Math.min(limit, left));
      const worth = rows / Math.max(executeMs(rows), 1e-6);
      if (rows > 0 && worth > best) {
        best = worth;
        bestCut = cut;
      }
      // All that is left fits into a batch as large as it may be: there is nothing better further on.
      if (rows === Math.min(limit, left)) break;
    }
    left -= pieces[cut]?.rows ?? 0;
  }
  return best === 0 ? pieces : pieces.slice(0, bestCut);
}

/** The largest number up to `limit` that fits, given that smaller ones fit more easily; 0 when none does. */
function mostRows(limit: number, fits: (rows: number) => boolean): number {
  if (fits(limit)) return limit;
  let low = 0;
  let high = limit;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}
