import { type RunningCoordinator, startCoordinator } from '../coordinator/main.js';
import { ShoalError } from '../core/errors.js';
import { newestFirst, type VersionStatus } from '../core/model.js';
import type { Settings } from '../platform/settings/schema.js';
import { softwareVersion } from '../platform/software-version.js';
import { routeGrpcLogs } from '../platform/telemetry/grpc-logging.js';
import { createLogger, type Logger } from '../platform/telemetry/logger.js';
import { MetricsFront } from '../platform/telemetry/metrics-front.js';
import { WorkerMetrics } from '../platform/telemetry/worker-metrics.js';
import { openLink, startWorker } from '../worker/main.js';
import type { Worker } from '../worker/worker.js';
import type { ModelState, RunningCluster, RunningWorker } from './running-cluster.js';

/** The one place of the command line that knows the services: it wires settings to them. */

function logOf(settings: Settings): Logger {
  const log = createLogger({ level: settings.logLevel, format: settings.logFormat });
  routeGrpcLogs(log.child({ component: 'grpc-js' }));
  return log;
}

/** An execution on a GPU leaves the cores alone. */
const runsOnCores = (device: string): boolean => device.startsWith('cpu');

const coordinatorOf = (settings: Settings, sharesCores: boolean, log: Logger): Promise<RunningCoordinator> =>
  startCoordinator({ ...settings, sharesCores, softwareVersion, log });

function workerOf(settings: Settings, workerId: string, devices: readonly string[], log: Logger): Promise<Worker> {
  return startWorker({
    workerId,
    devices,
    repository: settings.models,
    slabDir: settings.slabDir,
    data: settings.data,
    pipelineDepth: settings.pipelineDepth,
    batchTimeoutMs: settings.batchTimeoutMs,
    loadTimeoutMs: settings.loadTimeoutMs,
    restart: {
      baseDelayMs: settings.restartBackoffMs,
      maxDelayMs: 50 * settings.restartBackoffMs,
      crashLimit: settings.maxRestarts + 1,
      crashWindowMs: settings.restartWindowMs,
    },
    softwareVersion,
    log,
  });
}

const address = (host: string, port: number): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;

function addressesOf(coordinator: RunningCoordinator, settings: Settings) {
  return {
    grpcAddress: address(settings.host, coordinator.grpcPort),
    httpAddress: address(settings.host, coordinator.httpPort),
    metricsAddress: address(settings.host, coordinator.metricsPort),
  };
}

const byName = (a: ModelState, b: ModelState): number =>
  a.model < b.model ? -1 : a.model > b.model ? 1 : newestFirst(b.version, a.version);

const stateOf = ({ model, version, state, reason }: VersionStatus): ModelState => ({ model, version, state, reason });

/**
 * How the devices are shared out: one worker per device unless a number is asked for; then the devices go round,
 * and each worker that would have none shares one.
 */
export function shareDevices(devices: readonly string[], workers: number): string[][] {
  const count = workers === 0 ? devices.length : workers;
  return Array.from({ length: count }, (_, index) => {
    const own = devices.filter((_device, at) => at % count === index);
    return own.length > 0 ? own : [devices[index % devices.length] ?? 'cpu'];
  });
}

/** `shoal up`: a coordinator and its workers in this process; only executors are processes of their own. */
export async function startCluster(settings: Settings): Promise<RunningCluster> {
  const log = logOf(settings);
  const coordinator = await coordinatorOf(settings, settings.devices.some(runsOnCores), log);
  const shares = shareDevices(settings.devices, settings.workers);
  const started = await Promise.allSettled(
    shares.map((devices, index) => workerOf(settings, `worker-${index}`, devices, log)),
  );
  const workers = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const drain = async (graceMs: number): Promise<void> => {
    // The coordinator first: it still needs its workers to answer what it has accepted.
    await coordinator.drain(graceMs);
    await Promise.all(workers.map((worker) => worker.drain(graceMs)));
  };
  const failed = started.find((one) => one.status === 'rejected');
  if (failed !== undefined) {
    await drain(0);
    throw ShoalError.from(failed.reason);
  }
  for (const worker of workers) coordinator.addWorker(worker.info.workerId, worker);
  return {
    ...addressesOf(coordinator, settings),
    models: () =>
      coordinator.view.versions().map(({ model, version, state, reason }) => ({ model, version, state, reason })),
    ready: Promise.all(workers.map((worker) => worker.settled())).then(() => undefined),
    drain,
  };
}

/** `shoal coordinator`: waits for workers to join. */
export async function startCoordinatorAlone(settings: Settings): Promise<RunningCluster> {
  const coordinator = await coordinatorOf(settings, false, logOf(settings));
  return {
    ...addressesOf(coordinator, settings),
    models: () =>
      coordinator.view.versions().map(({ model, version, state, reason }) => ({ model, version, state, reason })),
    ready: Promise.resolve(),
    drain: (graceMs) => coordinator.drain(graceMs),
  };
}

/** `shoal worker`: reachable over gRPC, announced to the coordinators it joins. */
export async function startWorkerAlone(settings: Settings): Promise<RunningWorker> {
  const log = logOf(settings);
  const worker = await workerOf(settings, settings.workerId, settings.devices, log);
  const metrics = new WorkerMetrics(worker);
  const scrape = new MetricsFront({ host: settings.host, port: settings.metricsPort, metrics, logger: log });
  try {
    const { port: metricsPort } = await scrape.start();
    const link = await openLink(worker, { ...settings, log: log.child({ component: 'link' }) });
    return {
      workerId: worker.info.workerId,
      linkAddress: address(settings.advertise, link.linkPort),
      metricsAddress: address(settings.host, metricsPort),
      models: () => worker.statuses().map(stateOf).sort(byName),
      ready: worker.settled(),
      drain: async (graceMs) => {
        await link.drain(graceMs);
        await scrape.stop();
      },
    };
  } catch (thrown) {
    await worker.drain(0);
    await scrape.stop();
    throw thrown;
  }
}
