import path from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { systemClock } from '../core/clock.js';
import { serverOptions } from '../platform/grpc-options.js';
import { linkImplementation, linkService } from '../platform/link/grpc-link.js';
import { Announcer } from '../platform/link/registry.js';
import { listenFailure } from '../platform/listen-failure.js';
import type { Logger } from '../platform/telemetry/logger.js';
import { systemTimers } from '../platform/timers.js';
import { resolveSpec } from './repository/resolve-spec.js';
import { scanRepository } from './repository/scan.js';
import type { RestartSettings } from './restart-policy.js';
import { createWorker, type Worker } from './worker.js';

export interface WorkerSettings {
  readonly workerId: string;
  readonly repository: string;
  readonly devices: readonly string[];
  readonly slabDir: string;
  /** Folder for what must outlive a restart. */
  readonly data: string;
  readonly pipelineDepth: number;
  readonly batchTimeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly restart: RestartSettings;
  readonly softwareVersion: string;
  readonly log: Logger;
}

/**
 * A worker with real clock, timers and repository, not yet reachable from outside this process.
 * @throws BAD_SETTING, PROVIDER_MISSING, OUT_OF_SPACE
 */
export function startWorker(settings: WorkerSettings): Promise<Worker> {
  const { log, repository, data, ...rest } = settings;
  const logger = log.child({ component: 'worker', worker: settings.workerId });
  return createWorker({
    ...rest,
    repositories: [repository],
    profileDir: path.join(data, 'profiles'),
    scan: async (dir) => {
      const found = await scanRepository(dir);
      for (const warning of found.warnings) logger.warn(warning);
      return found;
    },
    resolve: resolveSpec,
    logger,
    clock: systemClock,
    timers: systemTimers,
  });
}

export interface Reach {
  readonly host: string;
  readonly linkPort: number;
  /** Host that coordinators should dial. */
  readonly advertise: string;
  /** HOST:PORT of each coordinator to serve. */
  readonly join: readonly string[];
  readonly maxMessageBytes: number;
  readonly log: Logger;
}

export interface ReachableWorker {
  readonly linkPort: number;
  /** Tells the coordinators, finishes what was accepted, closes the link server. */
  drain(graceMs: number): Promise<void>;
}

/**
 * Opens a worker's link server and makes it known to its coordinators.
 * @throws BAD_SETTING when the port cannot be had
 */
export async function openLink(worker: Worker, reach: Reach): Promise<ReachableWorker> {
  const { host, log } = reach;
  const server = new Server({
    ...serverOptions({ maxMessageBytes: reach.maxMessageBytes }),
    // A coordinator's connection carries its link as long as it lives. What carries none was left over by a dial that
    // was given up: grpc-js connects such a channel once more after it was closed, and then keeps it.
    'grpc.max_connection_idle_ms': 5000,
  });
  server.addService(linkService, linkImplementation(worker));
  const linkPort = await new Promise<number>((resolve, reject) => {
    const address = `${host.includes(':') ? `[${host}]` : host}:${reach.linkPort}`;
    server.bindAsync(address, ServerCredentials.createInsecure(), (failure, port) => {
      if (failure === null) resolve(port);
      else reject(listenFailure(failure, { host, port: reach.linkPort }, '--link-port'));
    });
  });
  const announcers = reach.join.map(
    (coordinator) =>
      new Announcer({
        coordinator,
        workerId: worker.info.workerId,
        address: `${reach.advertise.includes(':') ? `[${reach.advertise}]` : reach.advertise}:${linkPort}`,
        timers: systemTimers,
        onChange: (reachable, reason) => {
          if (reachable) log.info({ coordinator }, 'known to the coordinator');
          else log.warn({ coordinator, reason }, 'the coordinator cannot be reached; trying on');
        },
      }),
  );
  return {
    linkPort,
    drain: async (graceMs) => {
      await worker.drain(graceMs);
      await Promise.all(announcers.map((announcer) => announcer.leave()));
      server.forceShutdown();
    },
  };
}
