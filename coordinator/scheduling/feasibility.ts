import type { Lane } from './lane.js';

/** What would be queued. */
export interface Newcomer {
  readonly caller: string;
  readonly weight: number;
  readonly level: number;
  readonly shapeKey: string;
  readonly rows: number;
  readonly deadlineMs: number;
}

/** Instants of the monotonic clock, milliseconds. */
export interface Prediction {
  readonly usualMs: number;
  /** In a bad but not an extreme case. */
  readonly badMs: number;
}

/**
 * When such a request would probably be answered if it were queued now, and when in a bad case; undefined while too
 * little is known to say. An execution takes ℓ(rows); who comes first follows from the fair shares; batches ahead are
 * spread over all instances.
 */
export function predictAnswer(lane: Lane, newcomer: Newcomer, nowMs: number): Prediction | undefined {
  const capacity = lane.likely;
  if (capacity === undefined || lane.slots === 0 || lane.isStale(nowMs)) return undefined;
  const most = Math.max(1, lane.rule.maxRows);
  const wholeMs = lane.expectMs(capacity, newcomer.shapeKey, most);
  if (wholeMs === 0) return undefined;
  const freeMs = capacity.place === 'idle' ? 0 : Math.max(0, capacity.freeAtMs - nowMs);
  const ahead = lane.share.rowsAhead(newcomer.level, newcomer.caller, newcomer.weight, newcomer.rows);
  // Every other shape that waits leaves in a batch of its own.
  const own = lane.queues.has(newcomer.shapeKey) ? 1 : 0;
  const wholeBatches = Math.floor(ahead / most) + (lane.queues.size - own) / 2;
  const waitMs = freeMs + (wholeBatches * wholeMs) / lane.slots;
  // Those who come after it, until it leaves, ride with it: as many as leave time for an execution like it to wait for.
  const before = (ahead % most) + newcomer.rows;
  const riders = Math.floor(lane.rowsPerMs * waitMs);
  const bearable = lane.rowsWithin(capacity, newcomer.shapeKey, (newcomer.deadlineMs - nowMs) / 2);
  const rows = Math.min(most, Math.max(before, Math.min(before + riders, bearable)));
  const atMs = nowMs + waitMs + lane.returnMs;
  return {
    usualMs: atMs + lane.expectMs(capacity, newcomer.shapeKey, rows),
    badMs: atMs + lane.cautiousMs(capacity, newcomer.shapeKey, rows),
  };
}
