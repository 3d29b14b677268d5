import type { Lane, LaneCapacity } from './lane.js';
import type { Piece } from './piece.js';
import type { ShapeQueue } from './shape-queue.js';

/**
 * How many rows the next batch of this queue may have so that its earliest deadline is met, `rows` at the most and 0
 * when nothing is left. What could not be met even by a batch half as large is given up, by `giveUp`, which has to take
 * it out of the queue: executing it would make the others late for an answer that nobody waits for.
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
  let limit = rows;
  for (let first = queue.mostUrgent; first !== undefined; first = queue.mostUrgent) {
    const leftMs = first.deadlineMs - startMs - lane.linkMs;
    if (lane.expectMs(worker, limit) <= leftMs) return limit;
    const least = Math.max(first.rows, Math.ceil(limit / 2));
    if (lane.expectMs(worker, least) <= leftMs)
      return mostRows(least, limit, (r) => lane.expectMs(worker, r) <= leftMs);
    giveUp(first);
    limit = Math.min(limit, queue.rows);
  }
  return limit;
}

/** The largest number from `least` (which fits) to below `most` (which does not) that fits. */
function mostRows(least: number, most: number, fits: (rows: number) => boolean): number {
  let low = least;
  let high = most;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}
