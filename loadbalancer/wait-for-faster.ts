/** A worker is slow beside another that is this many times faster. */
const muchFaster = 1.25;
/** With more batches waiting than this every worker is needed. */
const longQueue = 8;

/** A free worker that is perhaps not worth using. */
export interface SlowChoice {
  readonly speed: number;
  /** When it would be done with the next batch. */
  readonly doneMs: number;
}

/** A worker that is busy now. */
export interface BusyWorker {
  readonly speed: number;
  /** When it should be free; in the past when it is late. */
  readonly freeAtMs: number;
  /** How long the next batch would take there. */
  readonly batchMs: number;
}

/**
 * A slow worker is free while faster ones run: until when to wait for them, so that what waits is answered sooner
 * than the slow one could; `nowMs` when it is to be used. A slow server pays only once the queue for the fast ones is
 * long enough (the threshold of Lin and Kumar 1984); here the lengths are taken from what executions usually take.
 *
 * `batches`: how many wait. `deadlineMs`: a fast answer that is late is worth less than a slow one in time.
 */
export function waitForFaster(
  slow: SlowChoice,
  others: Iterable<BusyWorker>,
  batches: number,
  deadlineMs: number,
  nowMs: number,
): number {
  if (batches > longQueue) return nowMs;
  const fast: { freeMs: number; readonly batchMs: number }[] = [];
  for (const other of others) {
    if (other.speed * muchFaster > slow.speed) continue;
    // What is late by some time is thought to need as much again: a stalled worker is not waited for for ever.
    const freeMs = other.freeAtMs >= nowMs ? other.freeAtMs : 2 * nowMs - other.freeAtMs;
    fast.push({ freeMs, batchMs: other.batchMs });
  }
  if (fast.length === 0) return nowMs;
  const wakeMs = fast.reduce((least, { freeMs }) => Math.min(least, freeMs), Number.POSITIVE_INFINITY);
  let firstDoneMs = 0;
  let lastDoneMs = 0;
  for (let batch = 0; batch < batches; batch++) {
    const next = fast.reduce((best, one) => (one.freeMs + one.batchMs < best.freeMs + best.batchMs ? one : best));
    next.freeMs += next.batchMs;
    lastDoneMs = Math.max(lastDoneMs, next.freeMs);
    if (batch === 0) firstDoneMs = lastDoneMs;
  }
  if (lastDoneMs >= slow.doneMs) return nowMs;
  if (firstDoneMs > deadlineMs && slow.doneMs <= deadlineMs) return nowMs;
  return Math.max(nowMs + 1, wakeMs);
}
