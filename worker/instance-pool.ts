import type { CancelTimer, Clock, Timers } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import type { Batch, ToCoordinator } from '../core/link.js';
import type { InstanceState, InstanceStatus } from '../core/model.js';
import type { Random } from '../core/random.js';
import { endExecuteSpan, startExecuteSpan, traceparentOf } from './execute-span.js';
import type { Executor, WorkOutcome } from './executor/executor.js';
import { afterCrash, type CrashHistory, noCrashes, type RestartSettings } from './restart-policy.js';

/** The part of an executor that a pool uses. */
export type PoolExecutor = Pick<
  Executor,
  'pid' | 'freeSlots' | 'pendingCount' | 'headSinceMs' | 'exited' | 'run' | 'cancel' | 'close' | 'kill'
>;

export type BatchReply = Extract<ToCoordinator, { kind: 'result' | 'failure' }>;

export interface PoolOptions {
  /** One entry for each instance. */
  readonly instances: readonly { readonly id: string; readonly device: string }[];
  /** Starts an executor for an instance and makes it ready to run. @throws ShoalError */
  readonly launch: (instance: number) => Promise<PoolExecutor>;
  readonly restart: RestartSettings;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  /** Told whenever the number of slots or the state of an instance changes; not for every batch. */
  readonly changed: () => void;
  /** Told of each unexpected end of an executor, with what will be done about it. */
  readonly crashed: (instance: string, error: ShoalError, what: string) => void;
}

interface Instance {
  readonly id: string;
  readonly device: string;
  executor: PoolExecutor | undefined;
  /** `busy` is not kept here: it is `idle` with something pending. */
  state: Exclude<InstanceState, 'busy'>;
  reason: string;
  restarts: number;
  cancelRestart: CancelTimer | undefined;
  /** Settles when the start under way has ended, one way or the other. */
  launching: Promise<void> | undefined;
}

interface Entry {
  readonly batch: Batch;
  readonly arrivedMs: number;
  readonly expiresMs: number;
  readonly reply: (reply: BatchReply) => void;
  running: { readonly executor: PoolExecutor; readonly ticket: number } | undefined;
}

export type CancelBatch = () => void;

/**
 * The executors of one version and the batches that wait for them. A batch goes to an idle instance if there is one (on
 * the device that it names, if it names one), else into a free slot behind the batch that has run longest; what finds no slot waits its turn. The caller bounds
 * how much it submits.
 */
export class InstancePool {
  readonly #options: PoolOptions;
  readonly #instances: readonly Instance[];
  #waiting: Entry[] = [];
  #inFlight = 0;
  #history: CrashHistory = noCrashes;
  #state: 'open' | 'quarantined' | 'closed' = 'open';
  #quarantineReason = '';
  #whenIdle: (() => void)[] = [];

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#instances = options.instances.map(({ id, device }) => ({
      id,
      device,
      executor: undefined,
      state: 'stopped',
      reason: '',
      restarts: 0,
      cancelRestart: undefined,
      launching: undefined,
    }));
  }

  /** Instances that can take batches. */
  get slots(): number {
    let slots = 0;
    for (const { state } of this.#instances) if (state === 'idle') slots++;
    return slots;
  }

  /** Instances on this device, whatever their state; on any if it is empty. */
  instancesOn(device: string): number {
    let count = 0;
    for (const instance of this.#instances) if (isOn(instance, device)) count++;
    return count;
  }

  /** Why the pool gave up, quoting the last crash; empty when it did not. */
  get quarantineReason(): string {
    return this.#quarantineReason;
  }

  /** Why instances are missing at the moment; empty when none is. */
  get reason(): string {
    return this.#instances.find((instance) => instance.reason !== '')?.reason ?? '';
  }

  statuses(): InstanceStatus[] {
    return this.#instances.map(({ id, device, executor, state, reason, restarts }) => ({
      id,
      device,
      state: state === 'idle' && (executor?.pendingCount ?? 0) > 0 ? 'busy' : state,
      reason,
      pid: executor?.pid ?? 0,
      restarts,
    }));
  }

  /**
   * Brings the first instance up, then the others beside each other. Resolves when the first try of each has ended;
   * a crash while loading is retried like any other.
   * @throws the error of the first instance when it is one that no retry can mend.
   */
  async start(): Promise<void> {
    const [first, ...others] = this.#instances;
    if (first === undefined) return;
    await this.#launch(first, true);
    await Promise.all(others.map((instance) => this.#launch(instance, false)));
  }

  /** Takes one batch; `reply` is called exactly once, never before `submit` has returned. */
  submit(batch: Batch, reply: (reply: BatchReply) => void): CancelBatch {
    const arrivedMs = this.#options.clock.nowMs();
    const expiresMs = arrivedMs + batch.budgetUs / 1000;
    const entry: Entry = { batch, arrivedMs, expiresMs, reply, running: undefined };
    if (!this.#isServed(batch.device)) {
      queueMicrotask(() => this.#fail(entry, this.#unable(batch.device)));
    } else {
      this.#waiting.push(entry);
      this.#dispatch();
    }
    return () => this.#cancel(entry);
  }

  /** Resolves when nothing waits and nothing runs. */
  idle(): Promise<void> {
    if (this.#inFlight === 0 && this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  /**
   * Ends all executors. What still waits is answered with `error`, what runs is finished. Resolves when the processes
   * are gone, those that were just starting included.
   */
  async close(error: ShoalError): Promise<void> {
    if (this.#state !== 'quarantined') this.#state = 'closed';
    for (const entry of this.#waiting.splice(0)) this.#fail(entry, error);
    await Promise.all(this.#instances.map((instance) => this.#stop(instance)));
    this.#settle();
  }

  /** Ends all executors at once; what they had, and what waits, is answered with `error`. Follow with `close`. */
  kill(error: ShoalError): void {
    this.#state = 'closed';
    for (const entry of this.#waiting.splice(0)) this.#fail(entry, error);
    for (const { executor } of this.#instances) executor?.kill(error);
  }

  #launch(instance: Instance, isFirst: boolean): Promise<void> {
    const launch = this.#bringUp(instance, isFirst);
    instance.launching = launch.catch(() => undefined);
    return launch;
  }

  async #bringUp(instance: Instance, isFirst: boolean): Promise<void> {
    instance.state = 'starting';
    this.#options.changed();
    let executor: PoolExecutor;
    try {
      executor = await this.#options.launch(this.#instances.indexOf(instance));
    } catch (thrown) {
      const error = ShoalError.from(thrown);
      if (isFirst && !error.kind.retryable) {
        instance.state = 'stopped';
        throw error;
      }
      this.#onCrash(instance, error);
      return;
    }
    if (this.#state !== 'open') {
      await executor.close();
      return;
    }
    instance.executor = executor;
    instance.state = 'idle';
    instance.reason = '';
    executor.exited.then((crash) => {
      if (instance.executor !== executor) return;
      instance.executor = undefined;
      if (crash !== undefined) this.#onCrash(instance, crash);
    });
    this.#options.changed();
    this.#dispatch();
  }

  #onCrash(instance: Instance, error: ShoalError): void {
    if (this.#state !== 'open') return;
    const { clock, restart, random, timers } = this.#options;
    const { history, decision } = afterCrash(this.#history, clock.nowMs(), restart, random);
    this.#history = history;
    if (decision.kind === 'quarantine') {
      this.#quarantine(instance, decision.crashes, error);
      return;
    }
    const what = `restarting in ${Math.round(decision.delayMs)} ms`;
    instance.state = 'backoff';
    instance.reason = `${error.message} Now ${what}.`;
    instance.cancelRestart = timers.after(decision.delayMs, () => {
      instance.cancelRestart = undefined;
      instance.restarts++;
      // Not the first try any more: whatever goes wrong is counted as one more crash, and never thrown.
      void this.#launch(instance, false);
    });
    this.#options.crashed(instance.id, error, what);
    this.#options.changed();
    const stranded = this.#waiting.filter(({ batch }) => !this.#isServed(batch.device));
    this.#waiting = this.#waiting.filter(({ batch }) => this.#isServed(batch.device));
    for (const entry of stranded) this.#fail(entry, this.#unable(entry.batch.device));
    this.#dispatch();
  }

  #quarantine(instance: Instance, crashes: number, error: ShoalError): void {
    const { crashWindowMs } = this.#options.restart;
    this.#state = 'quarantined';
    this.#quarantineReason = `Its executors crashed ${crashes} times within ${crashWindowMs / 1000} s without one good batch; the last time: ${error.message}`;
    this.#options.crashed(instance.id, error, 'quarantined');
    instance.reason = error.message;
    // Stopping begins with a change of state at once, so that the announcement already has no slots.
    const closed = this.close(this.#unable(''));
    this.#options.changed();
    void closed.then(() => this.#options.changed());
  }

  async #stop(instance: Instance): Promise<void> {
    instance.cancelRestart?.();
    instance.cancelRestart = undefined;
    instance.state = 'stopped';
    // Waiting for a start from within itself (a crash at start that quarantines) would never end.
    if (instance.executor === undefined && this.#state === 'closed') await instance.launching;
    await instance.executor?.close();
    instance.executor = undefined;
  }

  /** In order of arrival; what waits for a device that is full does not hold up what waits for another. */
  #dispatch(): void {
    let place = 0;
    for (let entry = this.#waiting[0]; entry !== undefined; entry = this.#waiting[place]) {
      const instance = this.#chooseInstance(entry.batch.device);
      if (instance === undefined) {
        // Nothing is free anywhere, or not where this one has to go.
        if (entry.batch.device === '') return;
        place++;
      } else {
        this.#waiting.splice(place, 1);
        this.#execute(entry, instance);
      }
    }
  }

  /** Is an instance up on this device (on any, if it is empty)? */
  #isServed(device: string): boolean {
    return this.#instances.some((instance) => instance.state === 'idle' && isOn(instance, device));
  }

  /** An idle instance, else the one with a free slot whose batch began first: it will probably be free first. */
  #chooseInstance(device: string): Instance | undefined {
    let chosen: Instance | undefined;
    let chosenSinceMs = Number.POSITIVE_INFINITY;
    for (const instance of this.#instances) {
      const { executor } = instance;
      if (instance.state !== 'idle' || executor === undefined || executor.freeSlots === 0) continue;
      if (!isOn(instance, device)) continue;
      if (executor.pendingCount === 0) return instance;
      if (executor.headSinceMs < chosenSinceMs) {
        chosen = instance;
        chosenSinceMs = executor.headSinceMs;
      }
    }
    return chosen;
  }

  #execute(entry: Entry, instance: Instance): void {
    const { executor } = instance;
    if (executor === undefined) return;
    const { batch } = entry;
    const leftMs = entry.expiresMs - this.#options.clock.nowMs();
    if (leftMs <= 0) {
      const text = `The deadline of the batch passed while it waited for an instance of ${batch.model}/${batch.version}.`;
      // Answered later: this may be the very call that submits it.
      queueMicrotask(() => this.#fail(entry, new ShoalError('DEADLINE_EXPIRED', text)));
      return;
    }
    const span = startExecuteSpan(batch);
    const traceparent = traceparentOf(span, batch.traceparent);
    this.#inFlight++;
    const work = { inputs: batch.inputs, outputs: batch.outputs, budgetUs: leftMs * 1000, traceparent };
    const ticket = executor.run(work, (outcome) => {
      this.#inFlight--;
      entry.running = undefined;
      endExecuteSpan(span, instance.id, outcome.ok ? undefined : outcome.error.message);
      this.#onOutcome(entry, instance, outcome);
    });
    entry.running = { executor, ticket };
  }

  #onOutcome(entry: Entry, instance: Instance, outcome: WorkOutcome): void {
    if (outcome.ok) {
      if (this.#history.inARow > 0) this.#history = noCrashes;
      const { inputUs, executeUs, outputUs, outputs } = outcome;
      const totalUs = (this.#options.clock.nowMs() - entry.arrivedMs) * 1000;
      const waitUs = Math.max(0, totalUs - inputUs - executeUs - outputUs);
      const timing = { waitUs, inputUs, executeUs, outputUs };
      entry.reply({ kind: 'result', result: { batchId: entry.batch.batchId, instance: instance.id, outputs, timing } });
    } else if (!outcome.reached && outcome.error.code.startsWith('EXECUTOR_') && this.#state === 'open') {
      // It only stood behind the batch that went down with the executor: back to the head of the queue.
      this.#waiting.unshift(entry);
    } else {
      this.#fail(entry, outcome.error);
    }
    this.#dispatch();
    this.#settle();
  }

  #cancel(entry: Entry): void {
    const place = this.#waiting.indexOf(entry);
    if (place >= 0) {
      this.#waiting.splice(place, 1);
      queueMicrotask(() => this.#fail(entry, new ShoalError('CANCELLED', 'The batch was given up before it ran.')));
    } else {
      entry.running?.executor.cancel(entry.running.ticket);
    }
  }

  #fail({ batch, reply }: Entry, { code, message, kind }: ShoalError): void {
    reply({
      kind: 'failure',
      failure: { batchId: batch.batchId, error: { code, message }, retryable: kind.retryable },
    });
    this.#settle();
  }

  #unable(device: string): ShoalError {
    if (this.instancesOn(device) === 0) {
      const devices = [...new Set(this.#instances.map((instance) => instance.device))].join(', ') || 'none';
      return new ShoalError(
        'MODEL_NOT_READY',
        `There is no instance on the device ${device}; its devices: ${devices}.`,
      );
    }
    const here = this.#instances.find((instance) => instance.reason !== '' && isOn(instance, device));
    const where = device === '' ? '' : ` on the device ${device}`;
    const why = this.#quarantineReason || (here?.reason ?? '');
    return new ShoalError('MODEL_NOT_READY', `No instance is up${where}. ${why}`.trim());
  }

  #settle(): void {
    if (this.#inFlight > 0 || this.#waiting.length > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

const isOn = (instance: Instance, device: string): boolean => device === '' || instance.device === device;
