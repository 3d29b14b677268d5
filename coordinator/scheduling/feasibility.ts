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

/** Of a request's time, what its own execution may take; the rest is for waiting while another batch runs. */
const executionShare = 0.6;

/**
 * When such a request would be answered, in a bad but not an extreme case, if it were queued now: an instant of the
 * monotonic clock in milliseconds, undefined while too little is known to say. An execution takes ℓ(rows); who comes first follows from the fair shares; batches ahead are
 * spread over all instances.
 */
export function predictAnswer(lane: Lane, newcomer: Newcomer, nowMs: number): number | undefined {
  const capacity = lane.likely;
  if (capacity === undefined || lane.slots === 0 || lane.isStale(nowMs)) return undefined;
  const { shapeKey } = newcomer;
  const limit = Math.max(1, lane.rule.maxRows);
  if (lane.expectMs(capacity, shapeKey, limit) === 0) return undefined;
  // With short deadlines a batch has to be small, so that those who wait while another like it runs are still in time.
  const bearable = lane.rowsWithin(capacity, shapeKey, executionShare * (newcomer.deadlineMs - nowMs));
  const most = Math.min(limit, Math.max(bearable, newcomer.rows));
  const wholeMs = lane.expectMs(capacity, shapeKey, most);
  const isBusy = capacity.place !== 'idle';
  const freeMs = isBusy ? Math.max(0, capacity.freeAtMs - nowMs) : 0;
  const ahead = lane.share.rowsAhead(newcomer.level, newcomer.caller, newcomer.weight, newcomer.rows);
  // Every other shape that waits leaves in a batch of its own.
  const others = (lane.queues.size - (lane.queues.has(shapeKey) ? 1 : 0)) / 2;
  const wholeBatches = Math.floor((ahead + newcomer.rows - 1) / most) + others;
  const waitMs = freeMs + (wholeBatches * wholeMs) / lane.slots;
  // Those who come after it, until it leaves, ride with it.
  const before = ((ahead + newcomer.rows - 1) % most) + 1;
  const rows = Math.min(most, before + Math.floor(lane.rowsPerMs * waitMs));
  const atMs = nowMs + waitMs + lane.returnMs;
  const executeMs = lane.expectMs(capacity, shapeKey, rows);
  // What runs now may take longer than usual as well, but hardly both at once.
  const spreadMs = lane.cautiousMs(capacity, shapeKey, rows) - executeMs;
  return atMs + executeMs + Math.SQRT2 * spreadMs;
}
