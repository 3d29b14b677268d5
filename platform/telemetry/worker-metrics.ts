import { collectDefaultMetrics, Registry } from 'prom-client';
import type { VersionStatus, WorkerInfo } from '../../core/model.js';
import { FleetMetrics } from './fleet-metrics.js';
import { LiveMetric, type Sample } from './live-metric.js';

/** What a worker on its own can tell Prometheus: its versions, instances and restarts, and its process. */
export class WorkerMetrics {
  readonly registry = new Registry();

  constructor(worker: { readonly info: WorkerInfo; statuses(): readonly VersionStatus[] }) {
    new FleetMetrics(this.registry).watch({
      versions: () =>
        worker
          .statuses()
          .map(({ model, version, state }) => ({ model, version, state, queuedRows: 0, queuedRequests: 0 })),
      workers: () => [{ workerId: worker.info.workerId, state: 'connected', versions: worker.statuses() }],
    });
    new LiveMetric(
      'gauge',
      'shoal_execution_profile_seconds',
      'Typical time of one execution of so many rows, its input and output copies included.',
      () => worker.statuses().flatMap(profileSamples),
    ).register(this.registry);
    collectDefaultMetrics({ register: this.registry });
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }
}

const profileSamples = ({ model, version, profiles }: VersionStatus): Sample[] =>
  Object.entries(profiles).flatMap(([deviceClass, points]) =>
    points.map(({ rows, ms }) => ({
      labels: { model, version, device_class: deviceClass, rows: String(rows) },
      value: ms / 1000,
    })),
  );
