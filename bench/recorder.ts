import { type HistogramSnapshot, LatencyHistogram } from './latency-histogram.js';

/** Outcomes that are not gRPC codes. */
export const wrongAnswer = 'WRONG_ANSWER';
export const unanswered = 'UNANSWERED';

export interface ErrorTally {
  readonly count: number;
  /** The message of the first such error. */
  readonly first: string;
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
  /** Arrivals that had to wait because too many requests were in flight. */
  readonly heldBack: number;
  readonly errors: Readonly<Record<string, ErrorTally>>;
  /** Of good answers only. */
  readonly latency: HistogramSnapshot;
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
  #heldBack = 0;
  readonly #errors = new Map<string, { count: number; first: string }>();
  readonly #latency = new LatencyHistogram();
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

  answered(dueMs: number, nowMs: number): void {
    const latencyMs = nowMs - dueMs;
    if (nowMs >= this.#fromMs && nowMs < this.#toMs) {
      this.#answeredInWindow++;
      if (latencyMs <= this.#deadlineMs) this.#inDeadlineInWindow++;
    }
    if (!this.#counts(dueMs)) return;
    this.#sent++;
    this.#good++;
    this.#latency.record(latencyMs);
  }

  failed(dueMs: number, code: string, message: string): void {
    if (!this.#counts(dueMs)) return;
    this.#sent++;
    const tally = this.#errors.get(code);
    if (tally === undefined) this.#errors.set(code, { count: 1, first: message });
    else tally.count++;
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
      heldBack: this.#heldBack,
      errors: Object.fromEntries(this.#errors),
      latency: this.#latency.snapshot(),
      sendLag: this.#sendLag.snapshot(),
    };
  }

  #counts(dueMs: number): boolean {
    return dueMs >= this.#fromMs && dueMs < this.#toMs;
  }
}

/** Several processes of the same run as one. The window is the longest of theirs. */
export function mergeSnapshots(snapshots: readonly RecorderSnapshot[]): RecorderSnapshot {
  const latency = new LatencyHistogram();
  const sendLag = new LatencyHistogram();
  const errors = new Map<string, { count: number; first: string }>();
  for (const snapshot of snapshots) {
    latency.merge(snapshot.latency);
    sendLag.merge(snapshot.sendLag);
    for (const [code, { count, first }] of Object.entries(snapshot.errors)) {
      const tally = errors.get(code);
      if (tally === undefined) errors.set(code, { count, first });
      else tally.count += count;
    }
  }
  const sum = (of: (snapshot: RecorderSnapshot) => number): number => snapshots.reduce((n, s) => n + of(s), 0);
  return {
    windowMs: Math.max(0, ...snapshots.map((s) => s.windowMs)),
    sent: sum((s) => s.sent),
    good: sum((s) => s.good),
    answeredInWindow: sum((s) => s.answeredInWindow),
    inDeadlineInWindow: sum((s) => s.inDeadlineInWindow),
    heldBack: sum((s) => s.heldBack),
    errors: Object.fromEntries(errors),
    latency: latency.snapshot(),
    sendLag: sendLag.snapshot(),
  };
}
