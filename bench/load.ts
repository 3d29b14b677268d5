import type { CancelTimer, Clock, Timers } from '../core/clock.js';
import { invariant } from '../core/errors.js';
import { seededRandom } from '../core/random.js';
import { type Arrivals, poissonArrivals } from './arrivals.js';
import type { CallDone, Caller } from './infer-caller.js';
import type { LoadJob, Payload } from './plan.js';
import { batchRowsOf, Recorder, unanswered, wrongAnswer } from './recorder.js';

/** Waits for the instants of an open loop, which ordinary timers are too coarse for. */
export interface Pacer {
  /** Calls `fire` once, at `dueMs` or just after, never before `at` has returned. */
  at(dueMs: number, fire: () => void): void;
}

export interface LoadPorts {
  readonly caller: Caller;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly pacer: Pacer;
  /** Why an answer is not what was expected; undefined when it is. */
  verify(body: Uint8Array, payload: Payload): string | undefined;
  windowOpened(): void;
  windowClosed(): void;
  /** Last. Nothing is counted after it. */
  finished(recorder: Recorder): void;
}

/** One request in flight, kept and used again so that the loop allocates little. */
interface Slot {
  dueMs: number;
  payload: Payload | undefined;
  readonly done: CallDone;
}

/** Sends at most this many overdue arrivals before answers are looked at again. */
const burst = 32;

/**
 * One process's share of one run: warm-up, window, drain. In the open loop latency counts from the instant a
 * request was due, so neither a stalled server nor a late harness can hide a queue.
 */
export class LoadRun {
  readonly #job: LoadJob;
  readonly #ports: LoadPorts;
  readonly #startMs: number;
  readonly #recorder: Recorder;
  readonly #free: Slot[] = [];
  readonly #busy = new Set<Slot>();
  readonly #held: number[] = [];
  #heldHead = 0;
  #nextPayload = 0;
  #answers = 0;
  #phase: 'running' | 'draining' | 'finished' = 'running';
  #windowOpen = false;
  readonly #arrivals: Arrivals | undefined;
  #nextDueMs = 0;
  readonly #cancelTimers: CancelTimer[] = [];

  constructor(job: LoadJob, ports: LoadPorts) {
    this.#job = job;
    this.#ports = ports;
    this.#startMs = ports.clock.nowMs();
    const fromMs = this.#startMs + job.warmupMs;
    this.#recorder = new Recorder(fromMs, fromMs + job.durationMs, job.deadlineMs);
    this.#arrivals = job.load.kind === 'open' ? poissonArrivals(job.load.ratePerS, seededRandom(job.seed)) : undefined;
  }

  /** Answers of every kind so far, for progress. */
  get answers(): number {
    return this.#answers;
  }

  start(): void {
    const { warmupMs, durationMs, load } = this.#job;
    this.#after(warmupMs, () => {
      this.#windowOpen = true;
      this.#ports.windowOpened();
    });
    this.#after(warmupMs + durationMs, () => this.#drain());
    if (load.kind === 'closed') {
      for (let i = 0; i < load.concurrency; i++) this.#send(this.#ports.clock.nowMs());
    } else {
      this.#scheduleNext();
    }
  }

  /** Ends the window now and drains: what was measured so far is the result. */
  stop(): void {
    if (this.#phase === 'running') this.#drain();
  }

  #drain(): void {
    if (this.#phase !== 'running') return;
    this.#phase = 'draining';
    for (const cancel of this.#cancelTimers.splice(0)) cancel();
    this.#recorder.closeAt(this.#ports.clock.nowMs());
    if (this.#windowOpen) this.#ports.windowClosed();
    this.#sendOverdue();
    if (this.#quiet()) this.#finish();
    else this.#after(this.#job.drainMs, () => this.#finish());
  }

  #finish(): void {
    if (this.#phase === 'finished') return;
    this.#phase = 'finished';
    for (const cancel of this.#cancelTimers.splice(0)) cancel();
    const nowMs = this.#ports.clock.nowMs();
    const left = `not answered within ${this.#job.drainMs} ms after the end of the window`;
    for (const slot of this.#busy) this.#recorder.failed(slot.dueMs, nowMs, unanswered, left);
    for (const dueMs of this.#held.slice(this.#heldHead)) this.#recorder.failed(dueMs, nowMs, unanswered, left);
    this.#ports.finished(this.#recorder);
  }

  #quiet(): boolean {
    return this.#busy.size === 0 && this.#heldHead === this.#held.length;
  }

  #scheduleNext(): void {
    if (this.#arrivals === undefined) return;
    this.#nextDueMs = this.#startMs + this.#arrivals.nextMs();
    this.#ports.pacer.at(this.#nextDueMs, this.#arrive);
  }

  readonly #arrive = (): void => {
    if (this.#phase !== 'running' || this.#arrivals === undefined) return;
    for (let i = 0; i < burst; i++) {
      if (this.#nextDueMs >= this.#recorder.toMs) return;
      const nowMs = this.#ports.clock.nowMs();
      if (this.#nextDueMs > nowMs) break;
      if (this.#busy.size >= this.#job.maxInFlight) {
        this.#held.push(this.#nextDueMs);
        this.#recorder.heldBack(this.#nextDueMs);
      } else {
        this.#recorder.sendLag(this.#nextDueMs, nowMs);
        this.#send(this.#nextDueMs);
      }
      this.#nextDueMs = this.#startMs + this.#arrivals.nextMs();
    }
    this.#ports.pacer.at(this.#nextDueMs, this.#arrive);
  };

  /** Arrivals that were due before the window's end and are still unsent because the harness was late: they count. */
  #sendOverdue(): void {
    if (this.#arrivals === undefined) return;
    const nowMs = this.#ports.clock.nowMs();
    for (; this.#nextDueMs < this.#recorder.toMs; this.#nextDueMs = this.#startMs + this.#arrivals.nextMs()) {
      this.#recorder.sendLag(this.#nextDueMs, nowMs);
      this.#held.push(this.#nextDueMs);
    }
    while (this.#busy.size < this.#job.maxInFlight && this.#heldHead < this.#held.length) this.#sendHeld();
  }

  #sendHeld(): void {
    const held = this.#held[this.#heldHead];
    if (held === undefined) return;
    this.#heldHead++;
    this.#send(held);
  }

  #send(dueMs: number): void {
    const slot = this.#free.pop() ?? this.#newSlot();
    const payload = this.#job.payloads[this.#nextPayload];
    invariant(payload !== undefined, 'a load job has at least one payload');
    this.#nextPayload = (this.#nextPayload + 1) % this.#job.payloads.length;
    slot.dueMs = dueMs;
    slot.payload = payload;
    this.#busy.add(slot);
    const { deadlineMs } = this.#job;
    const timeoutMs =
      deadlineMs === undefined ? Number.POSITIVE_INFINITY : deadlineMs - (this.#ports.clock.nowMs() - dueMs);
    this.#ports.caller.send(payload.body, timeoutMs, slot.done);
  }

  #newSlot(): Slot {
    const slot: Slot = {
      dueMs: 0,
      payload: undefined,
      done: (code, message, body, timing) => this.#answered(slot, code, message, body, timing),
    };
    return slot;
  }

  #answered(slot: Slot, code: string, message: string, body: Uint8Array | undefined, timing: string | undefined): void {
    if (this.#phase === 'finished') return;
    const nowMs = this.#ports.clock.nowMs();
    this.#answers++;
    this.#busy.delete(slot);
    this.#free.push(slot);
    const { payload, dueMs } = slot;
    if (code !== '') {
      this.#recorder.failed(dueMs, nowMs, code, message);
    } else {
      const complaint =
        payload?.expected === undefined || body === undefined ? undefined : this.#ports.verify(body, payload);
      if (complaint === undefined) this.#recorder.answered(dueMs, nowMs, batchRowsOf(timing));
      else this.#recorder.failed(dueMs, nowMs, wrongAnswer, complaint);
    }
    if (this.#heldHead < this.#held.length) {
      this.#sendHeld();
    } else if (this.#phase === 'draining') {
      if (this.#quiet()) this.#finish();
    } else if (this.#job.load.kind === 'closed') {
      this.#send(this.#ports.clock.nowMs());
    }
  }

  #after(delayMs: number, fire: () => void): void {
    this.#cancelTimers.push(this.#ports.timers.after(delayMs, fire));
  }
}
