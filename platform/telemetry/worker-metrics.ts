import { collectDefaultMetrics, Registry } from 'prom-client';
import type { VersionStatus, WorkerInfo } from '../../core/model.js';
import { FleetMetrics } from './fleet-metrics.js';

/** What a worker on its own can tell Prometheus: its versions, instances and restarts, and its process. */
export class WorkerMetrics {
  readonly #registry = new Registry();

  constructor(worker: { readonly info: WorkerInfo; statuses(): readonly VersionStatus[] }) {
    new FleetMetrics(this.#registry).watch({
      versions: () =>
        worker
          .statuses()
          .map(({ model, version, state }) => ({ model, version, state, queuedRows: 0, queuedRequests: 0 })),
      workers: () => [{ workerId: worker.info.workerId, state: 'connected', versions: worker.statuses() }],
    });
    collectDefaultMetrics({ register: this.#registry });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
