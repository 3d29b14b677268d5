import { systemClock } from '../core/clock.js';
import type { WorkerEndpoint } from '../core/link.js';
import { freshSeed, seededRandom } from '../core/random.js';
import { GrpcWorkerEndpoint } from '../platform/link/grpc-link.js';
import { registryGrpcService } from '../platform/link/registry.js';
import { nap } from '../platform/nap.js';
import type { Logger } from '../platform/telemetry/logger.js';
import { ServingMetrics } from '../platform/telemetry/metrics.js';
import { MetricsFront } from '../platform/telemetry/metrics-front.js';
import { systemTimers } from '../platform/timers.js';
import { adminGrpcService } from './admin/admin-service.js';
import { Coordinator } from './coordinator.js';
import { GrpcFront } from './front/grpc-front.js';
import { HttpFront } from './front/http-front.js';
import { FleetStatistics } from './front/model-statistics.js';
import type { AdminView } from './serving.js';

export interface CoordinatorSettings {
  readonly host: string;
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly metricsPort: number;
  readonly maxMessageBytes: number;
  readonly maxQueueRows: number;
  readonly maxAttempts: number;
  readonly replicaGraceMs: number;
  readonly workerTtlMs: number;
  /** Batches that run on one device at a time; 0: as many as there are instances. */
  readonly deviceConcurrency: number;
  readonly rateLimitResource: Readonly<Record<string, number>>;
  readonly callerWeights: Readonly<Record<string, number>>;
  /** Do executions run on this machine's cores? Then it sleeps while they do, and leaves them the cores. */
  readonly sharesCores: boolean;
  readonly softwareVersion: string;
  readonly log: Logger;
}

export interface RunningCoordinator {
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly metricsPort: number;
  readonly view: AdminView & { ready(): boolean };
  /** A worker that shares this process. */
  addWorker(workerId: string, endpoint: WorkerEndpoint): void;
  /** Takes nothing new, finishes what is there within the grace period, closes every port. */
  drain(graceMs: number): Promise<void>;
}

/**
 * Puts a coordinator together and opens its three ports.
 * @throws BAD_SETTING when a port cannot be had.
 */
export async function startCoordinator(settings: CoordinatorSettings): Promise<RunningCoordinator> {
  const { host, log, maxMessageBytes, softwareVersion, workerTtlMs } = settings;
  const metrics = new ServingMetrics();
  const coordinator = new Coordinator({
    clock: systemClock,
    timers: systemTimers,
    defer: setImmediate,
    ...(settings.sharesCores ? { nap } : {}),
    random: seededRandom(freshSeed()),
    log: log.child({ component: 'coordinator' }),
    observer: metrics,
    dial: (address) => new GrpcWorkerEndpoint(address, maxMessageBytes),
    maxQueueRows: settings.maxQueueRows,
    maxAttempts: settings.maxAttempts,
    replicaGraceMs: settings.replicaGraceMs,
    workerTtlMs,
    scheduling: {
      deviceConcurrency: settings.deviceConcurrency,
      resources: settings.rateLimitResource,
      callerWeight: (caller) => settings.callerWeights[caller] ?? 1,
    },
  });
  metrics.watchFleet(coordinator);
  const announcements = {
    announced: (workerId: string, address: string) => coordinator.fleet.announced(workerId, address),
    left: (workerId: string) => coordinator.fleet.remove(workerId, 'it left'),
  };
  const statistics = new FleetStatistics(coordinator, metrics);
  const door = { host, service: coordinator, statistics, softwareVersion, maxMessageBytes, observer: metrics };
  const grpc = new GrpcFront({
    ...door,
    port: settings.grpcPort,
    logger: log.child({ component: 'grpc' }),
    extraServices: [
      adminGrpcService(coordinator, log.child({ component: 'admin' })),
      registryGrpcService(announcements, workerTtlMs),
    ],
  });
  const http = new HttpFront({ ...door, port: settings.httpPort, logger: log.child({ component: 'http' }) });
  const scrape = new MetricsFront({
    host,
    port: settings.metricsPort,
    metrics,
    logger: log.child({ component: 'metrics' }),
  });

  const opened: (() => Promise<void>)[] = [];
  try {
    const { port: grpcPort } = await grpc.start();
    opened.push(() => grpc.drain(0));
    const { port: httpPort } = await http.start();
    opened.push(() => http.drain(0));
    const { port: metricsPort } = await scrape.start();
    const sweep = setInterval(() => coordinator.fleet.sweep(), workerTtlMs / 2);
    sweep.unref();
    return {
      grpcPort,
      httpPort,
      metricsPort,
      view: coordinator,
      addWorker: (workerId, endpoint) => coordinator.fleet.add(workerId, 'in-process', endpoint),
      drain: async (graceMs) => {
        clearInterval(sweep);
        // The doors stay open until the last answer is out: they carry it.
        await coordinator.drain(graceMs);
        await Promise.all([grpc.drain(1000), http.drain(1000)]);
        await scrape.stop();
      },
    };
  } catch (thrown) {
    await Promise.all(opened.map((close) => close()));
    throw thrown;
  }
}
