import type { Clock, Timers } from '../../core/clock.js';
import type { Batch, LinkEvents, LinkSession, ToWorker, WorkerEndpoint } from '../../core/link.js';
import { versionKey, type WorkerInfo } from '../../core/model.js';
import type { Random } from '../../core/random.js';
import { SimDevice } from './device.js';
import type { SimModel } from './rows.js';
import { type LinkLatency, type LinkProbe, type SessionOwner, SimSession } from './sim-session.js';
import { fail, SimVersion } from './sim-version.js';

export interface SimDevicePlan {
  readonly name: string;
  /** Executions that run on it at full speed beside each other. */
  readonly lanes: number;
}

export interface SimWorkerPlan {
  readonly workerId: string;
  readonly devices: readonly SimDevicePlan[];
  /** How many instances of which model it holds on each of its devices. */
  readonly holds: readonly { readonly model: SimModel; readonly instances: number }[];
  readonly pipelineDepth: number;
  readonly latency: LinkLatency;
  /** 1: as the profiles say; 0.2: always five times slower. */
  readonly speed: number;
  /** Does it tell its profiles when it joins? Else a coordinator learns from what it sees. */
  readonly tellsProfiles: boolean;
}

/** A worker that is silent for so long is given up by the link's own keepalive. */
const keepaliveMs = 2000;
/** A worker that drained is started anew after so long. */
const restartMs = 500;

/** A worker in virtual time, as a coordinator sees it, with all that can go wrong with one. */
export class SimWorker implements WorkerEndpoint, SessionOwner {
  readonly workerId: string;
  readonly devices: readonly SimDevice[];
  readonly #plan: SimWorkerPlan;
  readonly #clock: Clock & Timers;
  readonly #random: Random;
  readonly #probe: LinkProbe;
  readonly #info: WorkerInfo;
  readonly #versions: ReadonlyMap<string, SimVersion>;
  #state: 'up' | 'stalled' | 'draining' | 'down' = 'up';
  #session: SimSession | undefined;
  #sessions = 0;
  /** What came in while it stood still. */
  #backlog: (() => void)[] = [];
  #speed: number;
  #losesCancels = false;

  constructor(plan: SimWorkerPlan, clock: Clock & Timers, random: Random, probe: LinkProbe) {
    this.#plan = plan;
    this.#clock = clock;
    this.#random = random;
    this.#probe = probe;
    this.workerId = plan.workerId;
    this.#speed = plan.speed;
    this.devices = plan.devices.map(({ name, lanes }) => new SimDevice(name, lanes, clock));
    for (const device of this.devices) device.setSpeed(plan.speed);
    this.#info = {
      workerId: plan.workerId,
      devices: plan.devices.map(({ name }) => name),
      softwareVersion: 'simulated',
      pid: 1,
      host: 'nowhere',
      pipelineDepth: plan.pipelineDepth,
    };
    this.#versions = new Map(
      plan.holds.map(({ model, instances }) => [
        versionKey(model.spec.model, model.spec.version),
        new SimVersion({
          model,
          devices: this.devices.flatMap((device) => Array.from({ length: instances }, () => device)),
          tellsProfile: plan.tellsProfiles,
          clock,
          random,
        }),
      ]),
    );
  }

  /** Most batches of one version that a coordinator may have here. */
  batchLimit(key: string): number {
    return (this.#versions.get(key)?.instanceCount ?? 0) * (1 + this.#plan.pipelineDepth);
  }

  open(events: LinkEvents): LinkSession {
    const session = new SimSession({
      id: ++this.#sessions,
      owner: this,
      events,
      probe: this.#probe,
      clock: this.#clock,
      random: this.#random,
      latency: this.#plan.latency,
    });
    if (this.#state === 'down' || this.#state === 'draining') {
      session.end('nobody listens there');
      return session;
    }
    this.#session = session;
    this.#whenAwake(() => {
      const versions = [...this.#versions.values()].map((version) => version.status());
      session.tell({ kind: 'hello', worker: this.#info, versions });
    });
    return session;
  }

  received(session: SimSession, message: ToWorker): void {
    this.#whenAwake(() => {
      if (session !== this.#session) return;
      if (message.kind === 'execute') this.#execute(session, message.batch);
      else if (!this.#losesCancels) for (const version of this.#versions.values()) version.cancel(message.batchId);
    });
  }

  closedByCoordinator(session: SimSession): void {
    this.#forget(session);
  }

  /** Runs at `factor` of its speed for a while. */
  slowDown(factor: number, forMs: number): void {
    this.#setSpeed(this.#plan.speed * factor);
    this.#clock.after(forMs, () => this.#setSpeed(this.#plan.speed));
  }

  /** Stands still without a word, as a stopped process does; the link notices only after a while. */
  stall(forMs: number): void {
    if (this.#state !== 'up') return;
    this.#state = 'stalled';
    for (const device of this.devices) device.setSpeed(0);
    const session = this.#session;
    this.#clock.after(Math.min(forMs, keepaliveMs), () => {
      if (this.#state === 'stalled' && forMs > keepaliveMs && session !== undefined)
        this.#cut(session, 'it fell silent');
    });
    this.#clock.after(forMs, () => {
      if (this.#state !== 'stalled') return;
      this.#state = 'up';
      for (const device of this.devices) device.setSpeed(this.#speed);
      for (const run of this.#backlog.splice(0)) run();
    });
  }

  /** Dies with all it has, and is back after a while; Infinity: never. */
  die(forMs: number): void {
    if (this.#state !== 'up') return;
    this.#stop('the process died');
    if (forMs === Number.POSITIVE_INFINITY) return;
    this.#clock.after(forMs, () => {
      this.#state = 'up';
    });
  }

  /** The link breaks; the worker itself lives on. */
  breakLink(): void {
    if (this.#session !== undefined) this.#cut(this.#session, 'the connection was reset');
  }

  /** Says that it drains, finishes what it has, leaves, and is started anew after a while. */
  drain(): void {
    if (this.#state !== 'up') return;
    this.#state = 'draining';
    this.#session?.tell({ kind: 'draining' });
    const leaveWhenIdle = (): void => {
      if (![...this.#versions.values()].every((version) => version.isIdle)) {
        this.#clock.after(5, leaveWhenIdle);
        return;
      }
      this.#stop('it has drained');
      this.#clock.after(restartMs, () => {
        this.#state = 'up';
      });
    };
    // What was sent before its word arrived is still on its way.
    this.#clock.after(20, leaveWhenIdle);
  }

  /** One executor of one version dies and is started anew after a while. */
  crashExecutor(which: number, forMs: number): void {
    if (this.#state !== 'up') return;
    const version = [...this.#versions.values()][which % this.#versions.size];
    if (version === undefined || !version.crash(which)) return;
    this.#session?.tell({ kind: 'version', status: version.status() });
    this.#clock.after(forMs, () => {
      version.restart();
      if (this.#state === 'up') this.#session?.tell({ kind: 'version', status: version.status() });
    });
  }

  /** Cancellations get lost for a while. */
  loseCancels(forMs: number): void {
    this.#losesCancels = true;
    this.#clock.after(forMs, () => {
      this.#losesCancels = false;
    });
  }

  #execute(session: SimSession, batch: Batch): void {
    const version = this.#versions.get(versionKey(batch.model, batch.version));
    if (this.#state === 'draining') fail(session, batch, 'DRAINING', 'The worker is draining.', true);
    else if (version === undefined) fail(session, batch, 'MODEL_NOT_READY', 'The worker does not hold it.', true);
    else version.submit(session, batch);
  }

  #whenAwake(run: () => void): void {
    if (this.#state === 'stalled') this.#backlog.push(run);
    else run();
  }

  #setSpeed(speed: number): void {
    this.#speed = speed;
    if (this.#state !== 'stalled') for (const device of this.devices) device.setSpeed(speed);
  }

  #stop(reason: string): void {
    this.#state = 'down';
    const session = this.#session;
    this.#session = undefined;
    for (const version of this.#versions.values()) version.kill();
    session?.end(reason);
  }

  #cut(session: SimSession, reason: string): void {
    this.#forget(session);
    session.cut(reason);
  }

  #forget(session: SimSession): void {
    for (const version of this.#versions.values()) version.forget(session);
    if (this.#session === session) this.#session = undefined;
  }
}
