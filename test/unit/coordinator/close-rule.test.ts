import { describe, expect, it } from 'vitest';
import { closeRule, type Prospects } from '../../../coordinator/scheduling/close-rule.js';
import { naturalRule } from '../../../coordinator/scheduling/lane-rule.js';
import type { BatchingRule } from '../../../core/model.js';

const never = Number.POSITIVE_INFINITY;
const nobody: Prospects = { holdUntil: (_shape, _rows, nowMs) => nowMs, answerMs: () => 0 };
/** Somebody is worth waiting for until 120; rows take 10 ms + 1 ms each. */
const company: Prospects = { holdUntil: () => 120, answerMs: (_shape, rows) => 10 + rows };
const triton = { maxQueueDelayUs: 20_000, preferredRows: [4, 6] };

interface Case {
  readonly what: string;
  readonly maxRows?: number;
  readonly batching?: Partial<BatchingRule>;
  readonly rows?: number;
  readonly enqueuedMs?: number;
  readonly deadlineMs?: number;
  readonly earliestMs?: number;
  readonly idle?: boolean;
  readonly prospects?: Prospects;
  readonly closes?: readonly [reason: string, rows: number];
  readonly wakes?: number;
}

// It is 100 ms now, and 3 rows wait since 95 ms for a batch of at most 8.
const cases: readonly Case[] = [
  { what: 'no batching: always full, even behind a busy instance', maxRows: 0, idle: false, closes: ['unbatched', 1] },
  { what: 'a whole batch', rows: 8, closes: ['full', 8] },
  { what: 'more than a batch: only one of it', rows: 21, closes: ['full', 8] },
  { what: 'a whole batch may wait behind a busy instance', rows: 9, idle: false, closes: ['full', 8] },
  { what: 'less may not', rows: 7, idle: false, wakes: never },
  { what: 'not even when its delay is over', batching: triton, enqueuedMs: 10, idle: false, wakes: never },
  { what: 'natural: what is there', closes: ['idle', 3] },
  { what: 'natural, with company expected', prospects: company, wakes: 120 },
  { what: 'natural, company, a deadline in between', prospects: company, deadlineMs: 130, wakes: 116 },
  {
    what: 'natural, company, one more row would be late',
    prospects: company,
    deadlineMs: 114,
    closes: ['deadline', 3],
  },
  { what: 'natural, nobody expected: the deadline is no reason', deadlineMs: 101, closes: ['idle', 3] },
  { what: 'delay runs', batching: triton, wakes: 115 },
  { what: 'delay is over', batching: triton, enqueuedMs: 80, closes: ['delay', 3] },
  { what: 'delay is over and a preferred size there', batching: triton, rows: 5, enqueuedMs: 80, closes: ['delay', 5] },
  { what: 'the largest preferred that fits', batching: triton, rows: 7, closes: ['preferred', 6] },
  { what: 'a preferred size', batching: triton, rows: 5, closes: ['preferred', 4] },
  { what: 'deadline before the end of the delay', batching: triton, prospects: company, deadlineMs: 126, wakes: 112 },
  { what: 'a policy lets somebody leave before the delay is over', batching: triton, earliestMs: 110, wakes: 109 },
  {
    what: 'what a policy allows to wait does not count how long an execution takes',
    batching: triton,
    prospects: company,
    deadlineMs: 190,
    earliestMs: 110,
    wakes: 109,
  },
  {
    what: 'deadline now, and all go rather than a preferred size',
    batching: triton,
    rows: 5,
    prospects: company,
    deadlineMs: 116,
    closes: ['deadline', 5],
  },
];

describe('close rule', () => {
  it.each(cases)('$what', (one) => {
    const {
      maxRows = 8,
      batching = {},
      rows = 3,
      enqueuedMs = 95,
      deadlineMs = never,
      earliestMs = deadlineMs,
      idle = true,
    } = one;
    const { prospects = nobody, closes, wakes } = one;
    const waiting = { shapeKey: '', rows, enqueuedMs, deadlineMs, earliestMs };
    const close = closeRule(naturalRule(maxRows, batching), waiting, idle, 100, prospects);
    expect(close).toEqual(
      closes === undefined ? { reason: undefined, wakeAtMs: wakes } : { reason: closes[0], rows: closes[1] },
    );
  });
});
