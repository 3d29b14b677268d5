import type { CloseReason } from '../serving.js';
import type { LaneRule } from './lane-rule.js';

/** What the rule looks at: one shape's queue, and what its lane has learned. */
export interface Waiting {
  readonly shapeKey: string;
  readonly rows: number;
  /** When the oldest came. */
  readonly enqueuedMs: number;
  /** The earliest deadline; Infinity: nobody has one. */
  readonly deadlineMs: number;
  /** When the first has to leave the queue, by its deadline or its queue policy; Infinity: nobody. */
  readonly earliestMs: number;
}

/** What one more execution, and waiting for company, are expected to cost. Instants and durations in milliseconds. */
export interface Prospects {
  /** Until when it pays to hold the batch open for those who are likely to come; `nowMs` or earlier: it does not. */
  holdUntil(shapeKey: string, rows: number, nowMs: number): number;
  /** From a start to the answer at the caller's door, for so many rows; 0 while unknown. */
  answerMs(shapeKey: string, rows: number): number;
}

export type Close =
  | { readonly reason: CloseReason; readonly rows: number }
  | { readonly reason: undefined; readonly wakeAtMs: number };

/**
 * May this queue be closed into a batch now, at how many rows, and why? `idle`: an instance is free; without one only
 * a full batch may leave, to wait right behind the one that runs.
 *
 * Whatever it waits for, it stops in time for the earliest deadline: at the last instant from which one row more
 * would still be answered before it.
 */
export function closeRule(rule: LaneRule, queue: Waiting, idle: boolean, nowMs: number, prospects: Prospects): Close {
  const { maxRows, batching } = rule;
  // One piece is a whole batch: it is always full.
  if (maxRows === 0) return { reason: 'unbatched', rows: 1 };
  if (queue.rows >= maxRows) return { reason: 'full', rows: maxRows };
  if (!idle) return { reason: undefined, wakeAtMs: Number.POSITIVE_INFINITY };
  const delayMs = batching.maxQueueDelayUs / 1000;
  if (delayMs === 0) {
    const untilMs = prospects.holdUntil(queue.shapeKey, queue.rows, nowMs);
    if (untilMs <= nowMs) return { reason: 'idle', rows: queue.rows };
    const lastStartMs = lastStart(queue, prospects);
    return lastStartMs <= nowMs
      ? { reason: 'deadline', rows: queue.rows }
      : { reason: undefined, wakeAtMs: Math.min(untilMs, lastStartMs) };
  }
  const dueMs = queue.enqueuedMs + delayMs;
  if (nowMs >= dueMs) return { reason: 'delay', rows: queue.rows };
  const lastStartMs = lastStart(queue, prospects);
  if (nowMs >= lastStartMs) return { reason: 'deadline', rows: queue.rows };
  for (let i = batching.preferredRows.length - 1; i >= 0; i--) {
    const preferred = batching.preferredRows[i] ?? 0;
    if (queue.rows >= preferred) return { reason: 'preferred', rows: preferred };
  }
  return { reason: undefined, wakeAtMs: Math.min(dueMs, lastStartMs) };
}

/** Timers are late by up to this much, and who has to leave then is gone. */
const timerMs = 1;

/** The last instant from which one row more would be answered before the earliest deadline, and nobody has left. */
function lastStart({ shapeKey, rows, deadlineMs, earliestMs }: Waiting, prospects: Prospects): number {
  return Math.min(deadlineMs - prospects.answerMs(shapeKey, rows + 1), earliestMs - timerMs);
}
