import type { Registry } from 'prom-client';
import type { InstanceState, VersionState, VersionStatus } from '../../core/model.js';
import { LiveMetric, type Sample } from './live-metric.js';

/** What the gauges read of the fleet; the coordinator's admin view has this shape. */
export interface FleetView {
  versions(): readonly {
    readonly model: string;
    readonly version: string;
    readonly state: VersionState;
    readonly queuedRows: number;
    readonly queuedRequests?: number;
    readonly lost?: { readonly shape: number; readonly version: number; readonly priority: number };
  }[];
  workers(): readonly {
    readonly workerId: string;
    readonly state: string;
    readonly versions: readonly VersionStatus[];
  }[];
}

const workerStates = ['connecting', 'connected', 'draining', 'lost'];
const versionStates: readonly VersionState[] = ['loading', 'ready', 'draining', 'unavailable', 'quarantined'];
const instanceStates: readonly InstanceState[] = ['starting', 'idle', 'busy', 'backoff', 'stopped'];

/** Gauges read from the fleet view at each scrape, and a counter of restarts that never goes backwards. */
export class FleetMetrics {
  #view: FleetView | undefined;
  /** Restarts last seen, by worker and instance: a worker that comes back starts from zero, the counter does not. */
  #seenRestarts = new Map<string, number>();
  readonly #restarts = new Map<string, { model: string; version: string; total: number }>();

  constructor(registry: Registry) {
    const gauge = (name: string, help: string, read: () => Sample[]) =>
      new LiveMetric('gauge', name, help, read).register(registry);
    gauge('nv_inference_pending_request_count', 'Requests waiting for an instance.', () =>
      this.#perVersion((v) => v.queuedRequests ?? v.queuedRows),
    );
    gauge('shoal_queue_rows', 'Rows waiting for an instance.', () => this.#perVersion((v) => v.queuedRows));
    gauge('shoal_workers', 'Workers by state of their link.', () =>
      byState(
        workerStates,
        this.#workers().map((w) => w.state),
      ),
    );
    gauge('shoal_versions', 'Model versions by state.', () =>
      byState(
        versionStates,
        (this.#view?.versions() ?? []).map((v) => v.state),
      ),
    );
    gauge('shoal_instances', 'Executor processes by state.', () =>
      byState(
        instanceStates,
        this.#workers().flatMap((w) => w.versions.flatMap((v) => v.instances.map((i) => i.state))),
      ),
    );
    new LiveMetric(
      'counter',
      'shoal_lost_company_total',
      'Requests that waited while a batch left with room for them, by what kept them out.',
      () => this.#lostSamples(),
    ).register(registry);
    new LiveMetric('counter', 'shoal_executor_restarts_total', 'Executors that ended unexpectedly.', () =>
      this.#restartSamples(),
    ).register(registry);
  }

  watch(view: FleetView): void {
    this.#view = view;
  }

  #workers(): ReturnType<FleetView['workers']> {
    return this.#view?.workers() ?? [];
  }

  #perVersion(read: (version: ReturnType<FleetView['versions']>[number]) => number): Sample[] {
    const versions = this.#view?.versions() ?? [];
    return versions.map((v) => ({ labels: { model: v.model, version: v.version }, value: read(v) }));
  }

  #lostSamples(): Sample[] {
    return (this.#view?.versions() ?? []).flatMap(({ model, version, lost }) =>
      Object.entries(lost ?? {}).map(([reason, value]) => ({ labels: { model, version, reason }, value })),
    );
  }

  #restartSamples(): Sample[] {
    const seen = new Map<string, number>();
    for (const worker of this.#workers()) {
      for (const { model, version, instances } of worker.versions) {
        const key = `${model}/${version}`;
        const entry = this.#restarts.get(key) ?? { model, version, total: 0 };
        this.#restarts.set(key, entry);
        for (const { id, restarts } of instances) {
          const instanceKey = `${worker.workerId}/${key}/${id}`;
          const before = this.#seenRestarts.get(instanceKey) ?? 0;
          entry.total += restarts >= before ? restarts - before : restarts;
          seen.set(instanceKey, restarts);
        }
      }
    }
    this.#seenRestarts = seen;
    return [...this.#restarts.values()].map(({ model, version, total }) => ({
      labels: { model, version },
      value: total,
    }));
  }
}

/** Every state has its line, zero included, so that a graph or an alert never meets a hole. */
function byState(states: readonly string[], found: readonly string[]): Sample[] {
  return states.map((state) => ({ labels: { state }, value: found.filter((s) => s === state).length }));
}
