import os from 'node:os';
import type { Logger } from 'pino';
import type { Clock, Timers } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import type { LinkEvents, LinkSession, ToCoordinator, WorkerEndpoint } from '../core/link.js';
import { type VersionStatus, versionKey, type WorkerInfo } from '../core/model.js';
import { freshSeed, seededRandom } from '../core/random.js';
import { type Device, deviceText, isGpu, parseDevices } from './executor/device.js';
import { Executor } from './executor/executor.js';
import { checkSlabFolder, defaultSlabDir } from './executor/slab.js';
import { WorkerSession } from './link-session.js';
import { placeInstances } from './placement.js';
import { ProfileStore } from './profile-store.js';
import type { VersionPlan } from './repository/version-plan.js';
import { defaultRestartSettings, type RestartSettings } from './restart-policy.js';
import { takeTurns } from './turns.js';
import { type HostContext, type ResolveSpec, VersionHost } from './version-host.js';

export interface ScanResult {
  readonly plans: readonly VersionPlan[];
  readonly problems: readonly { readonly model: string; readonly version: string; readonly error: ShoalError }[];
}

export interface WorkerOptions {
  readonly workerId: string;
  /** Model repository folders; of two that hold the same version the first counts. */
  readonly repositories: readonly string[];
  /** `cpu`, `gpu:0`, `cuda:0`, `tensorrt:0`, `webgpu:0`. */
  readonly devices: readonly string[];
  readonly scan: (dir: string) => Promise<ScanResult>;
  readonly resolve: ResolveSpec;
  readonly logger: Logger;
  readonly softwareVersion: string;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Folder for slabs; default `/dev/shm`, or the system's temporary folder where there is none. */
  readonly slabDir?: string;
  /** Folder where latency profiles outlive the worker; default: they do not. */
  readonly profileDir?: string;
  /** A batch that runs longer counts as hung, in milliseconds; default 60 000. */
  readonly batchTimeoutMs?: number;
  /** The same for loading a model, and for its warm-up; default 300 000. */
  readonly loadTimeoutMs?: number;
  /** Warm-up begins no further run after this; default 10 000 ms. */
  readonly warmUpBudgetMs?: number;
  /** Batches that may wait here for each instance besides the one it runs; default 1. */
  readonly pipelineDepth?: number;
  readonly restart?: RestartSettings;
  /** Loads that may run at a time; default 2. */
  readonly concurrentLoads?: number;
  /** Seed of the restart jitter; default a fresh one. */
  readonly seed?: number;
  /** Variables added to the executors' environment. */
  readonly executorEnv?: Readonly<Record<string, string>>;
}

const executorCloseGraceMs = 5_000;

/**
 * Brings a worker up: checks its devices and its slab folder, reads its repositories and begins to load every version.
 * Loads go on after the promise has settled; a version that cannot be loaded is told in its status and never fails the
 * worker.
 * @throws BAD_SETTING; PROVIDER_MISSING for devices that are not there; OUT_OF_SPACE for a slab folder that is full
 */
export async function createWorker(options: WorkerOptions): Promise<Worker> {
  const devices = parseDevices(options.devices);
  checkSlabFolder(options.slabDir ?? defaultSlabDir());
  const worker = new Worker(options, devices);
  await worker.checkDevices();
  await worker.reload();
  return worker;
}

export class Worker implements WorkerEndpoint {
  readonly info: WorkerInfo;
  readonly #options: WorkerOptions;
  readonly #devices: readonly Device[];
  readonly #context: HostContext;
  readonly #hosts = new Map<string, VersionHost>();
  /** Versions that have no host, because their plan cannot be read or placed. */
  readonly #problems = new Map<string, VersionStatus>();
  readonly #sessions = new Set<WorkerSession>();
  readonly #loads = new Set<Promise<void>>();
  #state: 'serving' | 'draining' | 'stopped' = 'serving';
  #stopped: Promise<void> | undefined;

  /** For `createWorker`. */
  constructor(options: WorkerOptions, devices: readonly Device[]) {
    const { clock, timers, logger, resolve, pipelineDepth = 1, profileDir, workerId } = options;
    this.#options = options;
    this.#devices = devices;
    this.info = {
      workerId: options.workerId,
      devices: devices.map(deviceText),
      softwareVersion: options.softwareVersion,
      pid: process.pid,
      host: os.hostname(),
      pipelineDepth,
    };
    this.#context = {
      workerId: options.workerId,
      resolve,
      executor: {
        slabDir: options.slabDir ?? defaultSlabDir(),
        // One runs and one is laid out behind it; further ones gain nothing and wait where any instance can take them.
        slots: 1 + Math.min(1, pipelineDepth),
        batchTimeoutMs: options.batchTimeoutMs ?? 60_000,
        loadTimeoutMs: options.loadTimeoutMs ?? 300_000,
        closeGraceMs: executorCloseGraceMs,
        clock,
        timers,
        ...(options.executorEnv === undefined ? {} : { env: options.executorEnv }),
      },
      pipelineDepth,
      warmUpBudgetMs: options.warmUpBudgetMs ?? 10_000,
      intraOpThreads: (instances) => Math.max(1, Math.floor(os.availableParallelism() / instances)),
      restart: options.restart ?? defaultRestartSettings,
      clock,
      timers,
      random: seededRandom(options.seed ?? freshSeed()),
      logger,
      profileStore: profileDir === undefined ? undefined : new ProfileStore({ folder: profileDir, workerId, logger }),
      inTurn: takeTurns(options.concurrentLoads ?? 2),
    };
  }

  /** Runs a tiny model on every GPU of the worker. @throws PROVIDER_MISSING */
  async checkDevices(): Promise<void> {
    for (const device of this.#devices.filter(isGpu)) {
      const executor = await Executor.start({ ...this.#context.executor, name: `check ${deviceText(device)}` });
      try {
        await executor.check(device);
      } finally {
        await executor.close();
      }
    }
  }

  open(events: LinkEvents): LinkSession {
    const home = this;
    const session = new WorkerSession(
      {
        get draining() {
          return home.#state !== 'serving';
        },
        hello: () => ({ kind: 'hello', worker: this.info, versions: this.statuses() }),
        host: (model, version) => this.#hosts.get(versionKey(model, version)),
        left: (gone) => this.#sessions.delete(gone),
      },
      events,
    );
    this.#sessions.add(session);
    if (this.#state !== 'serving') queueMicrotask(() => session.tell({ kind: 'draining' }));
    return session;
  }

  /** Everything this worker holds or failed to hold, in no particular order. */
  statuses(): VersionStatus[] {
    return [...[...this.#hosts.values()].map((host) => host.status), ...this.#problems.values()];
  }

  /** Resolves when no load is under way: every version is then in the state it will stay in for now. */
  async settled(): Promise<void> {
    while (this.#loads.size > 0) await Promise.all(this.#loads);
  }

  /**
   * Reads the repositories again: loads versions that are new, changed, unavailable or quarantined; unloads those that
   * are gone. Resolves when unloads are done and loads have begun.
   */
  async reload(): Promise<void> {
    const plans = new Map<string, VersionPlan>();
    const problems = new Map<string, VersionStatus>();
    for (const dir of this.#options.repositories) await this.#scan(dir, plans, problems);
    for (const [key, { model, version }] of this.#problems) {
      if (problems.has(key)) continue;
      this.#problems.delete(key);
      if (!plans.has(key)) this.#broadcast({ kind: 'gone', model, version });
    }
    const vanished = [...this.#hosts.values()].filter((host) => !plans.has(host.key));
    await Promise.all(vanished.map((host) => this.unloadVersion(host.plan.model, host.plan.version)));
    // After the unloads, whose `gone` would make coordinators forget the problem.
    for (const [key, status] of problems) this.#announceProblem(key, status);
    const wanted = [...plans.values()].filter((plan) => this.#needsLoad(plan));
    await Promise.all(wanted.map((plan) => this.#replace(plan)));
  }

  /**
   * Begins to load one version. Resolves when its load has ended, well or not: its status tells.
   * A version that is held already is unloaded first.
   */
  async loadVersion(plan: VersionPlan): Promise<void> {
    const { ended } = await this.#replace(plan);
    await ended;
  }

  /** Drains one version and ends its executors; resolves when their memory is returned. Unknown versions are no error. */
  async unloadVersion(model: string, version: string): Promise<void> {
    const key = versionKey(model, version);
    const host = this.#hosts.get(key);
    if (host === undefined) return;
    await host.unload('The version is being unloaded.');
    if (this.#hosts.get(key) !== host) return;
    this.#hosts.delete(key);
    this.#broadcast({ kind: 'gone', model, version });
  }

  /**
   * Takes nothing new, finishes what it has for at most `graceMs`, then ends all executors and sessions.
   * Called again it waits for the same end.
   */
  drain(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#state = 'draining';
    this.#broadcast({ kind: 'draining' });
    const hosts = [...this.#hosts.values()];
    const idle = Promise.all(hosts.map((host) => host.idle()));
    const { timers } = this.#options;
    const { promise: late, resolve: giveUp } = deferred();
    const stop = timers.after(graceMs, giveUp);
    const inTime = await Promise.race([idle.then(() => true), late.then(() => false)]);
    stop();
    if (!inTime) {
      this.#options.logger.warn({ graceMs }, 'the grace period ended with batches in flight');
      for (const host of hosts) host.abandon();
    }
    await Promise.all(hosts.map((host) => host.end()));
    this.#state = 'stopped';
    for (const session of [...this.#sessions]) session.end('the worker has drained');
  }

  async #scan(dir: string, plans: Map<string, VersionPlan>, problems: Map<string, VersionStatus>): Promise<void> {
    const found = await this.#options.scan(dir);
    for (const plan of found.plans) {
      const key = versionKey(plan.model, plan.version);
      if (plans.has(key)) this.#options.logger.warn(`${key} is in more than one repository; ${dir} comes second.`);
      else plans.set(key, plan);
    }
    for (const { model, version, error } of found.problems) {
      const key = versionKey(model, version);
      this.#options.logger.error({ model, version, code: error.code }, error.message);
      problems.set(key, unavailable(model, version, error));
    }
  }

  #needsLoad(plan: VersionPlan): boolean {
    const host = this.#hosts.get(versionKey(plan.model, plan.version));
    if (host === undefined) return true;
    const { state } = host.status;
    return state === 'unavailable' || state === 'quarantined' || JSON.stringify(host.plan) !== JSON.stringify(plan);
  }

  /** Resolves when the old version is gone and the load of the new one has begun; the result resolves when it ended. */
  async #replace(plan: VersionPlan): Promise<{ readonly ended: Promise<void> }> {
    await this.unloadVersion(plan.model, plan.version);
    const key = versionKey(plan.model, plan.version);
    if (this.#state !== 'serving') return { ended: Promise.resolve() };
    let devices: Device[];
    try {
      devices = placeInstances(plan, this.#devices);
    } catch (thrown) {
      const error = ShoalError.from(thrown);
      this.#options.logger.error({ model: plan.model, version: plan.version, code: error.code }, error.message);
      this.#announceProblem(key, unavailable(plan.model, plan.version, error));
      return { ended: Promise.resolve() };
    }
    const host = new VersionHost(plan, devices, this.#context, (changed) => {
      if (this.#hosts.get(key) === changed) this.#broadcast({ kind: 'version', status: changed.status });
    });
    this.#problems.delete(key);
    this.#hosts.set(key, host);
    const load = host.load().finally(() => this.#loads.delete(load));
    this.#loads.add(load);
    return { ended: load };
  }

  #announceProblem(key: string, status: VersionStatus): void {
    this.#problems.set(key, status);
    this.#broadcast({ kind: 'version', status });
  }

  #broadcast(message: ToCoordinator): void {
    for (const session of this.#sessions) session.tell(message);
  }
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

const unavailable = (model: string, version: string, error: ShoalError): VersionStatus => ({
  model,
  version,
  state: 'unavailable',
  reason: error.message,
  spec: undefined,
  slots: 0,
  instances: [],
  profiles: {},
});
