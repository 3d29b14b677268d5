import type { Clock, Timers } from '../../core/clock.js';
import type { ToWorker, WorkerEndpoint } from '../../core/link.js';
import type { Random } from '../../core/random.js';
import type { WorkerView } from '../serving.js';
import { WorkerLink, type WorkerLinkEvents } from './worker-link.js';

export interface FleetOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly events: WorkerLinkEvents;
  readonly batchesInFlight: (workerId: string) => number;
  /** Makes the way to a worker that announced an address. */
  readonly dial: (address: string) => WorkerEndpoint;
  /** A worker that neither announces itself nor answers for this long is forgotten. */
  readonly ttlMs: number;
}

/** The workers this coordinator knows of: some given to it, some that announced themselves. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #links = new Map<string, WorkerLink>();
  /** Last announcement of each worker that announces; those given once and for all are not in it. */
  readonly #announcedMs = new Map<string, number>();

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** A worker that is there for good: it shares this process, or its address is configured. */
  add(workerId: string, address: string, endpoint: WorkerEndpoint): void {
    this.#links.get(workerId)?.close();
    const { events, timers, random } = this.#options;
    this.#links.set(workerId, new WorkerLink({ workerId, address, endpoint, events, timers, random }));
  }

  /** A worker says where it listens. Repeated every third of the time to live. */
  announced(workerId: string, address: string): void {
    const known = this.#links.get(workerId);
    this.#announcedMs.set(workerId, this.#options.clock.nowMs());
    if (known?.address === address) {
      known.nudge();
      return;
    }
    if (known !== undefined) this.remove(workerId, 'it came back under another address');
    this.#announcedMs.set(workerId, this.#options.clock.nowMs());
    this.add(workerId, address, this.#options.dial(address));
  }

  remove(workerId: string, reason: string): void {
    const link = this.#links.get(workerId);
    if (link === undefined) return;
    this.#links.delete(workerId);
    this.#announcedMs.delete(workerId);
    const served = link.state === 'connected' || link.state === 'draining';
    link.close();
    if (served) this.#options.events.lost(workerId, reason);
  }

  /** Forgets the silent. To be called every so often. */
  sweep(): void {
    const oldestMs = this.#options.clock.nowMs() - this.#options.ttlMs;
    for (const [workerId, announcedMs] of this.#announcedMs) {
      if (announcedMs < oldestMs && this.#links.get(workerId)?.state === 'lost')
        this.remove(workerId, 'it fell silent');
    }
  }

  send(workerId: string, message: ToWorker): boolean {
    return this.#links.get(workerId)?.send(message) ?? false;
  }

  depthOf(workerId: string): number {
    return this.#links.get(workerId)?.info?.pipelineDepth ?? 0;
  }

  /** Is any worker there that could tell what it holds? */
  get anyConnected(): boolean {
    for (const { state } of this.#links.values()) if (state === 'connected' || state === 'draining') return true;
    return false;
  }

  views(): WorkerView[] {
    const views = [...this.#links.values()].map((link) => ({
      workerId: link.workerId,
      address: link.address,
      state: link.state,
      reason: link.reason,
      info: link.info,
      versions: [...link.versions.values()],
      batchesInFlight: this.#options.batchesInFlight(link.workerId),
    }));
    return views.sort((a, b) => (a.workerId < b.workerId ? -1 : 1));
  }

  close(): void {
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }
}
