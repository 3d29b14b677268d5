import type { Clock, Timers } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import type { CallContext, InferOutcome, InferRequest } from '../core/inference.js';
import type { ToCoordinator, WorkerEndpoint } from '../core/link.js';
import { deviceClass, type ModelSpec, type VersionStatus } from '../core/model.js';
import type { Random } from '../core/random.js';
import type { ListedExplanation } from '../platform/admin/explanation.js';
import type { Logger } from '../platform/telemetry/logger.js';
import { startRequestSpan } from '../platform/telemetry/tracing.js';
import { type AdmittedInputs, checkRequest, timeoutMs } from './admission/check-request.js';
import { type QueueTerms, queueTerms } from './admission/queue-terms.js';
import { Call } from './dispatch/call.js';
import { Dispatcher } from './dispatch/dispatcher.js';
import { ReplyOrder } from './dispatch/reply-order.js';
import { explainLane } from './explain.js';
import { Fleet } from './fleet/fleet.js';
import { hasReady, ModelDirectory, overallState, type VersionEntry } from './fleet/model-directory.js';
import { laneRule, policyOf } from './scheduling/lane-rule.js';
import type { SchedulerOptions } from './scheduling/scheduler.js';
import type { AdminView, CancelCall, InferenceService, ServingObserver, VersionView, WorkerView } from './serving.js';

export interface CoordinatorOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly defer: (run: () => void) => void;
  /** Blocks the thread; undefined where it must not be blocked. */
  readonly nap?: (ms: number) => void;
  readonly random: Random;
  readonly log: Logger;
  readonly observer: ServingObserver;
  readonly dial: (address: string) => WorkerEndpoint;
  /** Most rows that may wait for one version. */
  readonly maxQueueRows: number;
  /** How often one request may be sent to a worker in all. */
  readonly maxAttempts: number;
  /** How long requests wait for a version whose last replica was lost. */
  readonly replicaGraceMs: number;
  /** A worker silent for this long is forgotten. */
  readonly workerTtlMs: number;
  readonly scheduling: Omit<SchedulerOptions, 'doorMs'>;
}

function twoDigits(ms: number, round: (value: number) => number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, ms))) - 1);
  return round(ms / unit) * unit;
}

const nothingLost = { shape: 0, version: 0, priority: 0 };
const nothingToCancel: CancelCall = () => undefined;

/** Takes calls in, finds out what they mean, and keeps the scheduler's picture of the fleet true. */
export class Coordinator implements InferenceService, AdminView {
  readonly #options: CoordinatorOptions;
  readonly #directory = new ModelDirectory();
  readonly #dispatcher: Dispatcher;
  readonly fleet: Fleet;
  readonly #orders = new WeakMap<VersionEntry, ReplyOrder>();
  #draining = false;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    const { clock, timers, random, defer, observer } = options;
    this.#dispatcher = new Dispatcher({
      clock,
      timers,
      defer,
      nap: options.nap,
      observer,
      maxAttempts: options.maxAttempts,
      scheduling: options.scheduling,
      send: (workerId, message) => this.fleet.send(workerId, message),
    });
    this.fleet = new Fleet({
      clock,
      timers,
      random,
      dial: options.dial,
      ttlMs: options.workerTtlMs,
      batchesInFlight: (workerId) => this.#dispatcher.batchesInFlight(workerId),
      events: {
        hello: (workerId, info, versions) => {
          this.#options.log.info(
            { worker: workerId, devices: info.devices, versions: versions.length },
            'worker connected',
          );
          for (const status of versions) this.#versionChanged(workerId, status);
        },
        message: (workerId, message) => this.#received(workerId, message),
        lost: (workerId, reason) => this.#workerLost(workerId, reason),
      },
    });
  }

  infer(request: InferRequest, context: CallContext, reply: (outcome: InferOutcome) => void): CancelCall {
    let entry: VersionEntry;
    let spec: ModelSpec;
    let admitted: AdmittedInputs;
    let deadlineMs: number;
    let terms: QueueTerms;
    let version = '';
    try {
      if (this.#draining)
        throw new ShoalError('DRAINING', 'This coordinator is shutting down and takes no new requests.');
      ({ entry, spec } = this.#resolve(request.model, request.version));
      version = entry.version;
      admitted = checkRequest(spec, request);
      const timeout = timeoutMs(request.parameters);
      deadlineMs = Math.min(context.deadlineMs, context.arrivedMs + timeout) - this.#dispatcher.sleptMs;
      terms = queueTerms(spec.batching, request.parameters, timeout, context.arrivedMs);
      if (deadlineMs <= this.#options.clock.nowMs()) {
        throw new ShoalError(
          'DEADLINE_EXPIRED',
          `The deadline of the request for model '${spec.model}' had passed when it arrived.`,
        );
      }
      this.#checkQueue(entry, spec, admitted.rows, terms.level, context.caller);
      this.#checkFeasible(entry, admitted, terms.level, context.caller, deadlineMs);
    } catch (thrown) {
      const error = ShoalError.from(thrown);
      const latencyUs = (this.#options.clock.nowMs() - context.arrivedMs) * 1000;
      this.#options.observer.failed(version === '' ? '' : request.model, version, error.code, latencyUs);
      if (error.code === 'INTERNAL') this.#options.log.error({ err: error.cause }, 'admission failed unexpectedly');
      this.#options.defer(() => reply({ ok: false, error }));
      return nothingToCancel;
    }
    const span = startRequestSpan(context.traceparent, spec.model);
    const inTurn = spec.batching.preserveOrdering ? this.#orderOf(entry).enter(reply) : reply;
    const call = new Call({
      spec,
      laneKey: entry.key,
      request,
      admitted,
      context,
      deadlineMs,
      terms,
      span,
      reply: inTurn,
    });
    this.#dispatcher.submit(call);
    return () => this.#dispatcher.abandon(call);
  }

  ready(): boolean {
    if (this.#draining) return false;
    const entries = this.#directory.all();
    return entries.some(hasReady) && !entries.some((entry) => overallState(entry).state === 'loading');
  }

  modelReady(model: string, version: string): boolean {
    return this.#directory.isReady(model, version);
  }

  describe(model: string, version: string): { readonly spec: ModelSpec; readonly versions: readonly string[] } {
    const { spec } = this.#resolve(model, version);
    return { spec, versions: this.#directory.readyVersions(model) };
  }

  versions(): readonly VersionView[] {
    return this.#directory.all().map((entry) => ({
      model: entry.model,
      version: entry.version,
      ...overallState(entry),
      spec: entry.spec,
      workers: [...entry.holders].filter(([, status]) => status.state === 'ready').map(([workerId]) => workerId),
      queuedRows: this.#dispatcher.queuedRows(entry.key),
      queuedRequests: this.#dispatcher.queuedPieces(entry.key),
      lost: this.#dispatcher.scheduler.lane(entry.key)?.tally.lost ?? nothingLost,
    }));
  }

  explain(model: string, version: string): readonly ListedExplanation[] {
    return this.#directory.find(model, version).flatMap((entry) => {
      const lane = this.#dispatcher.scheduler.lane(entry.key);
      return lane === undefined ? [] : [explainLane(model, entry.version, overallState(entry).state, lane)];
    });
  }

  workers(): readonly WorkerView[] {
    return this.fleet.views();
  }

  /** Takes nothing new, finishes what is there within the grace period, fails the rest with DRAINING. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    const endMs = this.#options.clock.nowMs() + graceMs;
    while (!this.#dispatcher.quiescent && this.#options.clock.nowMs() < endMs) {
      await new Promise<void>((resolve) => {
        this.#options.timers.after(5, resolve);
      });
    }
    const error = new ShoalError('DRAINING', 'The coordinator shut down before the request was answered.');
    for (const entry of this.#directory.all()) this.#dispatcher.failLane(entry.key, error);
    this.#dispatcher.failAll(error);
    this.fleet.close();
  }

  /** Without a single worker nobody can say that a model does not exist: callers shall try again, not give up. */
  #resolve(model: string, version: string): { entry: VersionEntry; spec: ModelSpec } {
    try {
      return this.#directory.resolve(model, version);
    } catch (thrown) {
      const { code, message } = ShoalError.from(thrown);
      if (code !== 'MODEL_NOT_FOUND' || this.fleet.anyConnected) throw thrown;
      throw new ShoalError('NO_WORKER', `${message.slice(0, -1)}, and no worker is connected that could hold it.`, {
        retryAfterMs: 1000,
      });
    }
  }

  /** Refuses at once what could not be answered in time: its caller can still do something else with the rest of it. */
  #checkFeasible(
    entry: VersionEntry,
    { rows, shapeKey }: AdmittedInputs,
    level: number,
    caller: string,
    deadlineMs: number,
  ): void {
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    const nowMs = this.#options.clock.nowMs();
    const { scheduler } = this.#dispatcher;
    const predicted = scheduler.predict(entry.key, { caller, level, shapeKey, rows, deadlineMs }, nowMs);
    if (predicted === undefined || predicted <= deadlineMs) return;
    scheduler.lane(entry.key)?.refused(nowMs);
    // Two digits say enough, and the same sentence again is encoded only once.
    const needMs = twoDigits(predicted - nowMs, Math.ceil);
    const leftMs = twoDigits(deadlineMs - nowMs, Math.floor);
    throw new ShoalError(
      'DEADLINE_INFEASIBLE',
      `Model '${entry.model}' would answer in about ${needMs} ms, and the request has ${leftMs} ms left.`,
      { retryAfterMs: Math.max(1, needMs - leftMs) },
    );
  }

  #orderOf(entry: VersionEntry): ReplyOrder {
    let order = this.#orders.get(entry);
    if (order === undefined) {
      order = new ReplyOrder();
      this.#orders.set(entry, order);
    }
    return order;
  }

  #checkQueue(entry: VersionEntry, spec: ModelSpec, rows: number, level: number, caller: string): void {
    const { maxRequests } = policyOf(spec.batching, level);
    if (maxRequests > 0 && this.#dispatcher.scheduler.queuedAtLevel(entry.key, level) >= maxRequests) {
      throw new ShoalError(
        'QUEUE_FULL',
        `${maxRequests} requests wait for model '${spec.model}' version ${spec.version} already, which is its max_queue_size.`,
        { retryAfterMs: 100 },
      );
    }
    const { maxQueueRows } = this.#options;
    if (!this.#dispatcher.scheduler.hasRoom(entry.key, level, caller, rows, maxQueueRows)) {
      throw new ShoalError(
        'QUEUE_FULL',
        `${this.#dispatcher.queuedRows(entry.key)} rows wait for model '${spec.model}' version ${spec.version} already; at most ${maxQueueRows} may.`,
        { retryAfterMs: 100 },
      );
    }
  }

  #received(workerId: string, message: Exclude<ToCoordinator, { kind: 'hello' }>): void {
    switch (message.kind) {
      case 'result':
        this.#dispatcher.result(workerId, message.result);
        break;
      case 'failure':
        this.#dispatcher.failure(workerId, message.failure);
        break;
      case 'version':
        this.#versionChanged(workerId, message.status);
        break;
      case 'gone':
        this.#versionGone(workerId, message.model, message.version);
        break;
      case 'draining':
        for (const entry of this.#directory.all()) {
          const status = entry.holders.get(workerId);
          if (status !== undefined) this.#versionChanged(workerId, { ...status, state: 'draining', slots: 0 });
        }
        break;
    }
  }

  #versionChanged(workerId: string, status: VersionStatus): void {
    const { entry, conflicting } = this.#directory.update(workerId, status.model, status.version, status);
    if (conflicting) {
      this.#options.log.error(
        { worker: workerId, model: status.model, version: status.version },
        'worker holds a different model under this version; it gets no requests',
      );
    }
    if (entry.spec !== undefined) this.#dispatcher.setLane(entry.key, laneRule(entry.spec));
    if (status.state === 'ready' && !conflicting) {
      entry.graceUntilMs = 0;
      this.#offer(entry.key, workerId, status);
    } else {
      // What it still runs comes back and is counted; it is only offered nothing more.
      this.#dispatcher.withdraw(entry.key, workerId);
    }
    this.#afterChange(entry);
  }

  #versionGone(workerId: string, model: string, version: string): void {
    const { entry } = this.#directory.update(workerId, model, version, undefined);
    this.#dispatcher.withdraw(entry.key, workerId);
    this.#afterChange(entry);
  }

  /** Instances that could run a batch, device by device. */
  #offer(key: string, workerId: string, { instances, profiles }: VersionStatus): void {
    const slots = new Map<string, number>();
    for (const { device, state } of instances) {
      if (state === 'idle' || state === 'busy') slots.set(device, (slots.get(device) ?? 0) + 1);
    }
    for (const device of this.#dispatcher.scheduler.offeredDevices(key, workerId)) {
      if (!slots.has(device)) this.#dispatcher.withdraw(key, workerId, device);
    }
    for (const [deviceClass, points] of Object.entries(profiles)) {
      this.#dispatcher.scheduler.seedProfile(key, deviceClass, points);
    }
    const depth = this.fleet.depthOf(workerId);
    for (const [device, count] of slots) {
      this.#dispatcher.offer(key, { workerId, device, deviceClass: deviceClass(device), slots: count, depth });
    }
  }

  #workerLost(workerId: string, reason: string): void {
    this.#options.log.warn({ worker: workerId, reason }, 'worker lost');
    this.#dispatcher.workerLost(workerId, reason);
    for (const entry of this.#directory.all()) {
      if (entry.holders.has(workerId)) this.#versionGone(workerId, entry.model, entry.version);
    }
  }

  /** A version without a ready replica: those who wait for it get some grace, or the reason why it is hopeless. */
  #afterChange(entry: VersionEntry): void {
    if (hasReady(entry)) return;
    const { state } = overallState(entry);
    const hopeless = entry.holders.size > 0 && (state === 'unavailable' || state === 'quarantined');
    if (hopeless || entry.spec === undefined) {
      this.#giveUp(entry);
      return;
    }
    if (entry.graceUntilMs > 0) return;
    const { clock, timers, replicaGraceMs } = this.#options;
    entry.graceUntilMs = clock.nowMs() + replicaGraceMs;
    this.#directory.refresh(entry.model);
    timers.after(replicaGraceMs, () => {
      if (entry.graceUntilMs > 0 && clock.nowMs() >= entry.graceUntilMs) this.#giveUp(entry);
    });
  }

  #giveUp(entry: VersionEntry): void {
    entry.graceUntilMs = 0;
    this.#directory.refresh(entry.model);
    const { state, reason } = overallState(entry);
    const code = entry.holders.size === 0 ? 'NO_WORKER' : 'MODEL_NOT_READY';
    const why = reason === '' ? '' : ` (${reason})`;
    this.#dispatcher.failLane(
      entry.key,
      new ShoalError(code, `Model '${entry.model}' version ${entry.version} is ${state}${why}.`),
    );
    if (entry.holders.size === 0) {
      this.#dispatcher.dropLane(entry.key);
      this.#directory.forget(entry);
    }
  }
}
