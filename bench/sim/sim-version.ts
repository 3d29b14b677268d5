import type { Clock } from '../../core/clock.js';
import type { Batch, BatchFailure, BatchResult } from '../../core/link.js';
import { deviceClass, type ProfilePoint, type VersionStatus } from '../../core/model.js';
import type { Random } from '../../core/random.js';
import type { SimDevice } from './device.js';
import { profilePoints } from './profile.js';
import { answerTensor, type SimModel } from './rows.js';
import { logNormal } from './samplers.js';
import type { SimSession } from './sim-session.js';

interface Instance {
  readonly id: string;
  readonly device: SimDevice;
  running: Entry | undefined;
  isUp: boolean;
  restarts: number;
}

interface Entry {
  /** Undefined once its session is over: nobody hears of it. */
  session: SimSession | undefined;
  readonly batch: Batch;
  readonly arrivedMs: number;
  breakOff: (() => void) | undefined;
}

/** One version on one simulated worker: its instances, and the batches that wait for them. Mirrors the real pool. */
export class SimVersion {
  readonly model: SimModel;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #noise: (random: Random) => number;
  readonly #instances: readonly Instance[];
  readonly #profiles: Readonly<Record<string, readonly ProfilePoint[]>>;
  #waiting: Entry[] = [];

  constructor(options: {
    model: SimModel;
    /** The device of each instance. */
    devices: readonly SimDevice[];
    /** Does it say from the start what executions take? */
    tellsProfile: boolean;
    clock: Clock;
    random: Random;
  }) {
    const { model, devices } = options;
    this.model = model;
    this.#clock = options.clock;
    this.#random = options.random;
    // With this median the mean is 1: noise shall not change what the device can do in all.
    this.#noise = logNormal(Math.exp(-(model.noise ** 2) / 2), model.noise);
    this.#instances = devices.map((device, index) => ({
      id: String(index),
      device,
      running: undefined,
      isUp: true,
      restarts: 0,
    }));
    const points = profilePoints(model.profile, Math.max(1, model.spec.maxBatchSize));
    const classes = options.tellsProfile ? devices.map(({ name }) => [deviceClass(name), points] as const) : [];
    this.#profiles = Object.fromEntries(classes);
  }

  get instanceCount(): number {
    return this.#instances.length;
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#instances.every(({ running }) => running === undefined);
  }

  get #slots(): number {
    return this.#instances.filter(({ isUp }) => isUp).length;
  }

  status(): VersionStatus {
    const { model, version } = this.model.spec;
    return {
      model,
      version,
      state: 'ready',
      reason: '',
      spec: this.model.spec,
      slots: this.#slots,
      instances: this.#instances.map(({ id, device, running, isUp, restarts }) => ({
        id,
        device: device.name,
        state: !isUp ? 'backoff' : running === undefined ? 'idle' : 'busy',
        reason: isUp ? '' : 'its executor died',
        pid: 0,
        restarts,
      })),
      profiles: this.#profiles,
    };
  }

  submit(session: SimSession, batch: Batch): void {
    if (this.#slots === 0) {
      fail(session, batch, 'MODEL_NOT_READY', 'No instance is up.', true);
      return;
    }
    this.#waiting.push({ session, batch, arrivedMs: this.#clock.nowMs(), breakOff: undefined });
    this.#start();
  }

  /** What waits is given back; what runs, runs on. */
  cancel(batchId: number): void {
    const place = this.#waiting.findIndex(({ batch }) => batch.batchId === batchId);
    const [entry] = place < 0 ? [] : this.#waiting.splice(place, 1);
    if (entry?.session !== undefined)
      fail(entry.session, entry.batch, 'CANCELLED', 'The batch was given up before it ran.', false);
  }

  /** Nobody waits for the batches of this session any more: the waiting are dropped, the running run in vain. */
  forget(session: SimSession): void {
    this.#waiting = this.#waiting.filter((entry) => entry.session !== session);
    for (const { running } of this.#instances) if (running?.session === session) running.session = undefined;
  }

  /** The executor of one instance dies under what it runs. Returns false when there is none that is up. */
  crash(which: number): boolean {
    const instance = this.#instances[which % this.#instances.length];
    if (instance === undefined || !instance.isUp) return false;
    instance.isUp = false;
    instance.restarts++;
    const entry = instance.running;
    instance.running = undefined;
    entry?.breakOff?.();
    if (entry?.session !== undefined)
      fail(entry.session, entry.batch, 'EXECUTOR_CRASHED', 'The executor died under the batch.', true);
    if (this.#slots === 0) {
      for (const { session, batch } of this.#waiting.splice(0))
        if (session !== undefined) fail(session, batch, 'MODEL_NOT_READY', 'No instance is up.', true);
    }
    return true;
  }

  /** The executors that died are back. */
  restart(): void {
    for (const instance of this.#instances) instance.isUp = true;
    this.#start();
  }

  /** The whole process is gone, without a word. */
  kill(): void {
    this.#waiting = [];
    for (const instance of this.#instances) {
      instance.running?.breakOff?.();
      instance.running = undefined;
      instance.isUp = true;
    }
  }

  #start(): void {
    for (const instance of this.#instances) {
      while (instance.isUp && instance.running === undefined) {
        const entry = this.#next(instance.device.name);
        if (entry === undefined) break;
        this.#execute(instance, entry);
      }
    }
  }

  #next(device: string): Entry | undefined {
    const place = this.#waiting.findIndex(({ batch }) => batch.device === '' || batch.device === device);
    return place < 0 ? undefined : this.#waiting.splice(place, 1)[0];
  }

  #execute(instance: Instance, entry: Entry): void {
    const { batch, arrivedMs } = entry;
    const startedMs = this.#clock.nowMs();
    if (startedMs - arrivedMs >= batch.budgetUs / 1000) {
      if (entry.session !== undefined)
        fail(entry.session, batch, 'DEADLINE_EXPIRED', 'The deadline passed while the batch waited.', false);
      return;
    }
    instance.running = entry;
    const workMs = this.model.profile.msOf(batch.rows) * this.#noise(this.#random);
    entry.breakOff = instance.device.run(workMs, () => {
      instance.running = undefined;
      const executeUs = (this.#clock.nowMs() - startedMs) * 1000;
      const timing = { waitUs: (startedMs - arrivedMs) * 1000, inputUs: 0, executeUs, outputUs: 0 };
      const outputs = [answerTensor(batch, this.model)];
      const result: BatchResult = { batchId: batch.batchId, instance: instance.id, outputs, timing };
      entry.session?.tell({ kind: 'result', result });
      this.#start();
    });
  }
}

export function fail(
  session: SimSession,
  batch: Batch,
  code: BatchFailure['error']['code'],
  message: string,
  retryable: boolean,
): void {
  session.tell({ kind: 'failure', failure: { batchId: batch.batchId, error: { code, message }, retryable } });
}
