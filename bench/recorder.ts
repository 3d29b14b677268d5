import { type HistogramSnapshot, LatencyHistogram } from './latency-histogram.js';

/** Outcomes that are not gRPC codes. */
export const wrongAnswer = 'WRONG_ANSWER';
export const unanswered = 'UNANSWERED';

export interface ErrorTally {
  readonly count: number;
  /** The message of the first such error. */
  readonly first: string;
  /** How long they took to come, counted as answers are. */
  readonly latency?: HistogramSnapshot;
}

/** What a server says that does not take a request in, under a deadline or a limit. */
const shedding = new Set(['RESOURCE_EXHAUSTED', 'DEADLINE_EXCEEDED']);
/** DEADLINE_EXCEEDED that comes before this share of the deadline is a refusal; later it is an expiry. */
const refusalShare = 0.9;

export const isShedding = (code: string): boolean => shedding.has(code);

/** The rows that a receipt (`queue=12;…;rows=16;…`) says were executed together; 0 without one. */
export function batchRowsOf(timing: string | undefined): number {
  const at = timing === undefined || timing.startsWith('rows=') ? 0 : timing.indexOf(';rows=') + 1;
  const text = timing?.slice(at, at + 15) ?? '';
  return text.startsWith('rows=') ? Number.parseInt(text.slice(5), 10) || 0 : 0;
}

/** What one process saw in one run. Requests are counted when they were due (open) or started (closed) in the window. */
export interface RecorderSnapshot {
  readonly windowMs: number;
  readonly sent: number;
  readonly good: number;
  /** Good answers that arrived inside the window, whenever they were sent: the throughput. */
  readonly answeredInWindow: number;
  /** Of these, the ones within the deadline; all of them when there is none. */
  readonly inDeadlineInWindow: number;
  /** Of the requests sent: good answers within the deadline. */
  readonly inTime: number;
  /** Of the requests sent: those the server said no to, in time for the caller to go elsewhere. */
  readonly refused: number;
  /** Good answers that said how many rows were executed together. */
  readonly receipts: number;
  /** The sum of one by that number over them: the share of a batch that each was. */
  readonly batches: number;
  /** Arrivals that had to wait because too many requests were in flight. */
  readonly heldBack: number;
  readonly errors: Readonly<Record<string, ErrorTally>>;
  /** Of good answers only. */
  readonly latency: HistogramSnapshot;
  /** Of refusals only. */
  readonly refusalLatency: HistogramSnapshot;
  /** How late the harness itself was: due to sent, held-back arrivals left out. */
  readonly sendLag: HistogramSnapshot;
}

/** Counts what happens to requests in the window `[fromMs, toMs)` of a monotonic clock. */
export class Recorder {
  readonly #fromMs: number;
  #toMs: number;
  readonly #deadlineMs: number;
  #sent = 0;
  #good = 0;
  #answeredInWindow = 0;
  #inDeadlineInWindow = 0;
  #inTime = 0;
  #refused = 0;
  #receipts = 0;
  #batches = 0;
  #heldBack = 0;
  readonly #errors = new Errors();
  readonly #latency = new LatencyHistogram();
  readonly #refusalLatency = new LatencyHistogram();
  readonly #sendLag = new LatencyHistogram();

  constructor(fromMs: number, toMs: number, deadlineMs = Number.POSITIVE_INFINITY) {
    this.#fromMs = fromMs;
    this.#toMs = toMs;
    this.#deadlineMs = deadlineMs;
  }

  get toMs(): number {
    return this.#toMs;
  }

  /** Ends the window early. What was due after it no longer counts; what arrived before it does. */
  closeAt(nowMs: number): void {
    this.#toMs = Math.max(this.#fromMs, Math.min(this.#toMs, nowMs));
  }

  /** `batchRows`: rows executed together with the request's, where the answer says so; else 0. */
  answered(dueMs: number, nowMs: number, batchRows = 0): void {
    const latencyMs = nowMs - dueMs;
    if (nowMs >= this.#fromMs && nowMs < this.#toMs) {
      this.#answeredInWindow++;
      if (latencyMs <= this.#deadlineMs) this.#inDeadlineInWindow++;
    }
    if (!this.#counts(dueMs)) return;
    this.#sent++;
    this.#good++;
    if (latencyMs <= this.#deadlineMs) this.#inTime++;
    this.#latency.record(latencyMs);
    if (batchRows <= 0) return;
    this.#receipts++;
    this.#batches += 1 / batchRows;
  }

  failed(dueMs: number, nowMs: number, code: string, message: string): void {
    if (!this.#counts(dueMs)) return;
    const latencyMs = nowMs - dueMs;
    this.#sent++;
    this.#errors.add(code, message, latencyMs);
    if (!isShedding(code)) return;
    if (code === 'DEADLINE_EXCEEDED' && latencyMs >= this.#deadlineMs * refusalShare) return;
    this.#refused++;
    this.#refusalLatency.record(latencyMs);
  }

  sendLag(dueMs: number, sentMs: number): void {
    if (this.#counts(dueMs)) this.#sendLag.record(sentMs - dueMs);
  }

  heldBack(dueMs: number): void {
    if (this.#counts(dueMs)) this.#heldBack++;
  }

  snapshot(): RecorderSnapshot {
    return {
      windowMs: this.#toMs - this.#fromMs,
      sent: this.#sent,
      good: this.#good,
      answeredInWindow: this.#answeredInWindow,
      inDeadlineInWindow: this.#inDeadlineInWindow,
      inTime: this.#inTime,
      refused: this.#refused,
      receipts: this.#receipts,
      batches: this.#batches,
      heldBack: this.#heldBack,
      errors: this.#errors.tallies(),
      latency: this.#latency.snapshot(),
      refusalLatency: this.#refusalLatency.snapshot(),
      sendLag: this.#sendLag.snapshot(),
    };
  }

  #counts(dueMs: number): boolean {
    return dueMs >= this.#fromMs && dueMs < this.#toMs;
  }
}

/** Failures by code. */
class Errors {
  readonly #byCode = new Map<string, { count: number; first: string; latency: LatencyHistogram }>();

  add(code: string, message: string, latencyMs: number): void {
    const kind = this.#kind(code, message);
    kind.count++;
    kind.latency.record(latencyMs);
  }

  merge(tallies: RecorderSnapshot['errors']): void {
    for (const [code, { count, first, latency }] of Object.entries(tallies)) {
      const kind = this.#kind(code, first);
      kind.count += count;
      if (latency !== undefined) kind.latency.merge(latency);
    }
  }

  tallies(): RecorderSnapshot['errors'] {
    return Object.fromEntries(
      [...this.#byCode].map(([code, { count, first, latency }]) => [
        code,
        { count, first, latency: latency.snapshot() },
      ]),
    );
  }

  #kind(code: string, first: string): { count: number; first: string; latency: LatencyHistogram } {
    const known = this.#byCode.get(code);
    if (known !== undefined) return known;
    const kind = { count: 0, first, latency: new LatencyHistogram() };
    this.#byCode.set(code, kind);
    return kind;
  }
}

/** Several processes or runs as one. The window is the longest of theirs. */
export function mergeSnapshots(snapshots: readonly RecorderSnapshot[]): RecorderSnapshot {
  const latency = new LatencyHistogram();
  const refusalLatency = new LatencyHistogram();
  const sendLag = new LatencyHistogram();
  const errors = new Errors();
  for (const snapshot of snapshots) {
    latency.merge(snapshot.latency);
    refusalLatency.merge(snapshot.refusalLatency);
    sendLag.merge(snapshot.sendLag);
    errors.merge(snapshot.errors);
  }
  const sum = (of: (snapshot: RecorderSnapshot) => number): number => snapshots.reduce((n, s) => n + of(s), 0);
  return {
    windowMs: Math.max(0, ...snapshots.map((s) => s.windowMs)),
    sent: sum((s) => s.sent),
    good: sum((s) => s.good),
    answeredInWindow: sum((s) => s.answeredInWindow),
    inDeadlineInWindow: sum((s) => s.inDeadlineInWindow),
    inTime: sum((s) => s.inTime),
    refused: sum((s) => s.refused),
    receipts: sum((s) => s.receipts),
    batches: sum((s) => s.batches),
    heldBack: sum((s) => s.heldBack),
    errors: errors.tallies(),
    latency: latency.snapshot(),
    refusalLatency: refusalLatency.snapshot(),
    sendLag: sendLag.snapshot(),
  };
}
