import type { Lane } from './lane.js';

/** What would be queued. */
export interface Newcomer {
  readonly caller: string;
  readonly weight: number;
  readonly level: number;
  readonly shapeKey: string;
  readonly rows: number;
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
  const wholeMs = lane.expectMs(capacity, most);
  if (wholeMs === 0) return undefined;
  const ahead = lane.share.rowsAhead(newcomer.level, newcomer.caller, newcomer.weight, newcomer.rows);
  // Every other shape that waits leaves in a batch of its own.
  const own = lane.queues.has(newcomer.shapeKey) ? 1 : 0;
  const wholeBatches = Math.floor(ahead / most) + (lane.queues.size - own) / 2;
  const waitMs = startsInMs(lane, wholeBatches, wholeMs, nowMs);
  // Those who come after it, until it leaves, ride with it.
  const riders = (ahead % most) + newcomer.rows + Math.floor(lane.rowsPerMs * waitMs);
  const rows = Math.min(most, riders);
  const atMs = nowMs + waitMs + lane.linkMs;
  return { usualMs: atMs + lane.expectMs(capacity, rows), badMs: atMs + lane.cautiousMs(capacity, rows) };
}

/** Few instances are looked at one by one; how the turns of many fall hardly matters. */
const fewInstances = 16;

/** In how long an instance is free for the batch after `batches` whole ones: when each is free now and when again. */
function startsInMs(lane: Lane, batches: number, wholeMs: number, nowMs: number): number {
  const { likely } = lane;
  if (likely === undefined) return 0;
  const firstMs = likely.place === 'idle' ? 0 : Math.max(0, likely.freeAtMs - nowMs);
  if (lane.slots === 1 || lane.slots > fewInstances) return firstMs + (batches * wholeMs) / lane.slots;
  const freeMs: number[] = [];
  for (const capacity of lane.capacities.values()) {
    const { runs, slots } = capacity;
    for (let i = 1; i <= slots; i++) freeMs.push(Math.max(0, (runs[runs.length - i]?.finishMs ?? 0) - nowMs));
  }
  freeMs.sort((a, b) => a - b);
  const rounds = Math.floor(batches / lane.slots);
  return (freeMs[Math.floor(batches) % lane.slots] ?? firstMs) + rounds * wholeMs;
}
