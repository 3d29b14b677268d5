import type { CancelTimer, Clock, Timers } from '../../core/clock.js';
import { DeadlineHeap } from '../../core/deadline-heap.js';
import { type ErrorCode, ShoalError } from '../../core/errors.js';
import type { BatchFailure, BatchResult, ToWorker } from '../../core/link.js';
import { startBatchSpan } from '../../platform/telemetry/tracing.js';
import type { LaneRule } from '../scheduling/lane-rule.js';
import { type Dispatch, Scheduler, type SchedulerOptions } from '../scheduling/scheduler.js';
import type { Offer } from '../scheduling/workplaces.js';
import type { ServingObserver } from '../serving.js';
import { assembleBatch, splitResult } from './batch-assembly.js';
import type { Call, CallPiece } from './call.js';
import { expiredError, hopelessError, timedOutError } from './deadline-errors.js';
import { DoorAllowance } from './door-allowance.js';
import { type InFlight, receiptOf } from './in-flight.js';

export interface DispatcherOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Runs a function once, after everything that has already arrived was taken in (`setImmediate`). */
  readonly defer: (run: () => void) => void;
  /** Blocks the whole thread for so long (see `rest`); undefined: never. */
  readonly nap: ((ms: number) => void) | undefined;
  /** False when that worker is not connected. */
  readonly send: (workerId: string, message: ToWorker) => boolean;
  readonly observer: ServingObserver;
  /** How often rows may be sent to a worker in all, when batches are lost under them. */
  readonly maxAttempts: number;
  readonly scheduling: Omit<SchedulerOptions, 'doorMs'>;
}

/** Said of a batch that never ran: the worker's news of its change and the batch met on their way. */
const refusals: ReadonlySet<ErrorCode> = new Set(['MODEL_NOT_READY', 'DRAINING', 'QUEUE_FULL']);

/** A sleep is worth its two context switches from here on, and must not keep anybody waiting who asks how we are. */
const shortestNapMs = 1;
const longestNapMs = 4;
/** To be awake in time. */
const wakingMs = 0.3;

/** A worker that goes on offering room and refusing what comes is broken: its requests shall not go round for ever. */
const maxRefusals = 16;

/**
 * The shell around the scheduler: turns its decisions into batches on links, and results into answers.
 * Decisions are taken once per turn of the event loop, so that requests which arrived together can
 * travel together.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #scheduler: Scheduler<CallPiece>;
  readonly #inFlight = new Map<number, InFlight>();
  /** Deadlines of rows that are being executed: their callers are told at the deadline, not after. */
  readonly #runningDeadlines = new DeadlineHeap<CallPiece>();
  readonly #door = new DoorAllowance();
  #lastBatchId = 0;
  #pumpDeferred = false;
  #sleptMs = 0;
  #wake: CancelTimer | undefined;
  #wakeAtMs = Number.POSITIVE_INFINITY;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#scheduler = new Scheduler({ ...options.scheduling, doorMs: () => this.#door.ms });
  }

  /** For those who want to know why; not to be changed through this. */
  get scheduler(): Pick<
    Scheduler<CallPiece>,
    'hasRoom' | 'lane' | 'predict' | 'queuedAtLevel' | 'seedProfile' | 'offeredDevices'
  > {
    return this.#scheduler;
  }

  /** How long we slept just before this turn of the event loop: what is read now may have come so long ago. */
  get sleptMs(): number {
    return this.#sleptMs;
  }

  setLane(key: string, rule: LaneRule): void {
    this.#scheduler.setLane(key, rule);
  }

  /** Everything that waits for this version fails with `error`. */
  failLane(key: string, error: ShoalError): void {
    for (const piece of this.#scheduler.flush(key)) this.#fail(piece.call, error);
  }

  /** Forgets a version that nobody holds and nobody waits for. */
  dropLane(key: string): void {
    this.#scheduler.removeLane(key);
  }

  offer(key: string, offer: Offer): void {
    this.#scheduler.offer(key, offer, this.#options.clock.nowMs());
    this.#pumpSoon();
  }

  withdraw(key: string, workerId: string, device?: string): void {
    this.#scheduler.withdraw(key, workerId, device);
  }

  queuedRows(key: string): number {
    return this.#scheduler.queuedRows(key);
  }

  /** Requests that wait; one that was split counts once for each of its parts. */
  queuedPieces(key: string): number {
    return this.#scheduler.queuedPieces(key);
  }

  /** Nothing waits and nothing is on its way. */
  get quiescent(): boolean {
    return this.#inFlight.size === 0 && this.#scheduler.idle;
  }

  batchesInFlight(workerId: string): number {
    let count = 0;
    for (const batch of this.#inFlight.values()) if (batch.workerId === workerId) count++;
    return count;
  }

  submit(call: Call): void {
    // What came while we slept came, on the average, in the middle of it.
    const nowMs = this.#options.clock.nowMs() - this.#sleptMs / 2;
    for (const piece of call.pieces) this.#scheduler.enqueue(call.laneKey, piece, nowMs);
    this.#pumpSoon();
  }

  /** The caller is gone: what waits leaves the queue, a batch that nobody waits for any more is called back. */
  abandon(call: Call): void {
    const leftMs = call.deadlineMs - this.#options.clock.nowMs();
    this.#door.hungUp(leftMs, call.deadlineMs - call.context.arrivedMs);
    // gRPC gives a call up at its deadline by itself, a moment before our own timer does.
    if (leftMs <= Math.max(1, this.#door.ms)) {
      this.#fail(call, expiredError(call, 'before it was answered'));
      return;
    }
    this.#fail(call, new ShoalError('CANCELLED', 'The caller cancelled the request.'));
  }

  result(workerId: string, result: BatchResult): void {
    const nowMs = this.#options.clock.nowMs();
    const { timing } = result;
    const tookMs = (timing.inputUs + timing.executeUs + timing.outputUs) / 1000;
    const known = this.#inFlight.get(result.batchId);
    if (known?.workerId === workerId) {
      const linkMs = Math.max(0, nowMs - known.dispatchedMs - timing.waitUs / 1000 - tookMs);
      this.#scheduler.answered(known.run, tookMs, linkMs, nowMs);
    }
    const batch = this.#settle(workerId, result.batchId);
    if (batch === undefined) return;
    this.#countLate(batch, nowMs - tookMs);
    let shares: ReturnType<typeof splitResult>;
    try {
      shares = splitResult(result, batch.pieces, batch.rows);
    } catch (thrown) {
      batch.span.end(ShoalError.from(thrown).code);
      for (const piece of batch.pieces) this.#fail(piece.call, ShoalError.from(thrown));
      return;
    }
    batch.span.end();
    for (let i = 0; i < batch.pieces.length; i++) {
      const piece = batch.pieces[i] as CallPiece;
      const { call } = piece;
      const receipt = receiptOf(batch, piece, result);
      const share = shares[i] ?? [];
      const misfit = call.pieces.length > 1 ? call.misfit(share) : undefined;
      if (misfit !== undefined) {
        this.#fail(call, misfit);
        continue;
      }
      if (!call.deliver(piece, share, receipt)) continue;
      call.span?.end();
      if (call.deadlineMs !== Number.POSITIVE_INFINITY) this.#door.answered();
      const latencyUs = (nowMs - call.context.arrivedMs) * 1000;
      this.#options.observer.answered(call.spec.model, call.spec.version, call.admitted.rows, latencyUs, receipt);
    }
  }

  failure(workerId: string, failure: BatchFailure): void {
    const batch = this.#settle(workerId, failure.batchId);
    if (batch === undefined) return;
    const error = new ShoalError(failure.error.code, failure.error.message);
    batch.span.end(error.code);
    this.#retryOrFail(batch, error, failure.retryable);
  }

  /** The link to a worker broke: nothing that was on its way there will be answered. */
  workerLost(workerId: string, reason: string): void {
    const error = new ShoalError('WORKER_LOST', `Worker ${workerId} was lost while it held the request: ${reason}.`);
    for (const batch of [...this.#inFlight.values()]) {
      if (batch.workerId !== workerId) continue;
      this.#settle(workerId, batch.batchId);
      batch.span.end(error.code);
      this.#retryOrFail(batch, error, true);
    }
  }

  /** Fails whatever is left: the last act of a drain whose grace period ran out. */
  failAll(error: ShoalError): void {
    for (const batch of [...this.#inFlight.values()]) for (const piece of batch.pieces) this.#fail(piece.call, error);
  }

  #retryOrFail(batch: InFlight, error: ShoalError, retryable: boolean): void {
    const nowMs = this.#options.clock.nowMs();
    const again: CallPiece[] = [];
    // One request's values can make ONNX Runtime refuse a whole batch, or its size leave no room for the others'. Run
    // apart, only the guilty one fails.
    const isolate = (error.code === 'EXECUTION_FAILED' || error.code === 'OUT_OF_SPACE') && batch.pieces.length > 1;
    // An attempt is one that may have reached an executor; refusals have a bound of their own.
    const refused = refusals.has(error.code);
    for (const piece of batch.pieces) {
      if (piece.call.settled) continue;
      const may = refused ? piece.refusals < maxRefusals : piece.attempt < this.#options.maxAttempts;
      if ((retryable || isolate) && may && piece.deadlineMs > nowMs) {
        if (refused) piece.refusals++;
        else piece.attempt++;
        if (isolate) piece.shapeKey = `alone:${batch.batchId}:${again.length}`;
        else piece.avoidWorker = batch.workerId;
        again.push(piece);
      } else {
        this.#fail(piece.call, error);
      }
    }
    // Failing one call can settle another piece of it that is in `again` already.
    const waiting = again.filter((piece) => !piece.call.settled);
    if (waiting.length === 0) return;
    this.#options.observer.retried(waiting[0]?.call.spec.model ?? '', waiting[0]?.call.spec.version ?? '');
    this.#scheduler.requeue(batch.laneKey, waiting);
    this.#pumpSoon();
  }

  /** Takes a batch off the books. Undefined when it was settled before (a late word from a lost worker). */
  #settle(workerId: string, batchId: number): InFlight | undefined {
    const batch = this.#inFlight.get(batchId);
    if (batch === undefined || batch.workerId !== workerId) return undefined;
    this.#inFlight.delete(batchId);
    for (const piece of batch.pieces) {
      piece.batchId = 0;
      this.#runningDeadlines.remove(piece);
    }
    this.#scheduler.completed(batch.run, this.#options.clock.nowMs());
    this.#pumpSoon();
    return batch;
  }

  /** Rows on which the device was wasted: their deadline passed on the way from here to the start of the execution. */
  #countLate(batch: InFlight, startedMs: number): void {
    let rows = 0;
    for (const piece of batch.pieces) if (piece.deadlineMs < startedMs) rows += piece.rows;
    const { spec } = (batch.pieces[0] as CallPiece).call;
    if (rows > 0) this.#options.observer.executedLate(spec.model, spec.version, rows);
  }

  #fail(call: Call, error: ShoalError): void {
    if (!call.fail(error)) return;
    call.span?.end(error.code);
    const { model, version } = call.spec;
    this.#options.observer.failed(
      model,
      version,
      error.code,
      (this.#options.clock.nowMs() - call.context.arrivedMs) * 1000,
    );
    for (const piece of call.pieces) {
      if (this.#scheduler.cancel(call.laneKey, piece)) continue;
      this.#runningDeadlines.remove(piece);
      const batch = this.#inFlight.get(piece.batchId);
      if (batch?.pieces.every((other) => other.call.settled)) {
        this.#options.send(batch.workerId, { kind: 'cancel', batchId: batch.batchId });
      }
    }
  }

  #pumpSoon(): void {
    if (this.#pumpDeferred) return;
    this.#pumpDeferred = true;
    this.#options.defer(() => {
      this.#pumpDeferred = false;
      this.#pump();
    });
  }

  #pump(): void {
    const nowMs = this.#options.clock.nowMs();
    for (
      let late = this.#runningDeadlines.popExpired(nowMs);
      late !== undefined;
      late = this.#runningDeadlines.popExpired(nowMs)
    ) {
      this.#fail(late.call, expiredError(late.call, 'while it was being executed'));
    }
    const decision = this.#scheduler.decide(nowMs);
    for (const piece of decision.expired)
      this.#fail(piece.call, expiredError(piece.call, 'while it waited in the queue'));
    for (const piece of decision.timedOut) this.#fail(piece.call, timedOutError(piece.call, nowMs));
    for (const piece of decision.hopeless) this.#fail(piece.call, hopelessError(piece.call, nowMs));
    // Parts of one request may have had different fates just now: whoever is told that it failed is not executed.
    for (const dispatch of decision.dispatches) {
      const pieces = dispatch.pieces.filter((piece) => !piece.call.settled);
      if (pieces.length > 0) {
        this.#dispatch(dispatch, pieces, nowMs);
      } else {
        this.#scheduler.completed(dispatch.run, nowMs);
        this.#pumpSoon();
      }
    }
    this.#wakeAt(Math.min(decision.wakeAtMs, this.#runningDeadlines.earliestMs), nowMs);
    this.#rest(nowMs);
  }

  /**
   * While every device is busy, a request that comes can only be put in a queue. To wake up for each costs more than to
   * serve it: an execution streams the model's weights through the caches, and all code and data of this process have to
   * come back from memory. So we sleep, a few milliseconds at a time and never past the instant at which a device is
   * free, and find the requests together.
   */
  #rest(nowMs: number): void {
    if (this.#options.nap === undefined) return;
    const untilMs = Math.min(this.#scheduler.calmUntilMs(nowMs), this.#runningDeadlines.earliestMs) - wakingMs;
    const napMs = Math.min(untilMs - nowMs, longestNapMs);
    if (napMs < shortestNapMs) return;
    this.#options.nap(napMs);
    this.#sleptMs = napMs;
    // After the sockets were read, which is what comes next.
    this.#options.defer(() => {
      this.#sleptMs = 0;
    });
  }

  #dispatch(dispatch: Dispatch<CallPiece>, pieces: readonly CallPiece[], nowMs: number): void {
    const { workerId, device, laneKey, run, freeSinceMs } = dispatch;
    const rows = pieces.reduce((sum, piece) => sum + piece.rows, 0);
    const { spec } = (pieces[0] as CallPiece).call;
    const span = startBatchSpan(pieces, spec.model, spec.version, rows);
    const batch = assembleBatch(++this.#lastBatchId, pieces, rows, nowMs, span.traceparent, device);
    const { batchId } = batch;
    this.#inFlight.set(batchId, {
      batchId,
      laneKey,
      workerId,
      pieces,
      rows,
      executedRows: batch.rows,
      dispatchedMs: nowMs,
      freeSinceMs,
      run,
      span,
    });
    for (const piece of pieces) {
      piece.batchId = batchId;
      piece.expiresMs = piece.deadlineMs;
      this.#runningDeadlines.add(piece);
    }
    this.#options.observer.dispatched(spec.model, spec.version, rows, pieces.length, dispatch.reason);
    if (!this.#options.send(workerId, { kind: 'execute', batch })) {
      this.failure(workerId, {
        batchId,
        retryable: true,
        error: { code: 'WORKER_LOST', message: `Worker ${workerId} was lost before the request could be sent to it.` },
      });
    }
  }

  #wakeAt(atMs: number, nowMs: number): void {
    if (atMs >= this.#wakeAtMs && this.#wake !== undefined) return;
    this.#wake?.();
    this.#wake = undefined;
    this.#wakeAtMs = atMs;
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.#wake = this.#options.timers.after(atMs - nowMs, () => {
      this.#wake = undefined;
      this.#wakeAtMs = Number.POSITIVE_INFINITY;
      this.#pump();
    });
  }
}
