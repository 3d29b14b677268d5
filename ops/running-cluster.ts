import type { VersionState } from '../core/model.js';
import type { Settings } from '../platform/settings/schema.js';

export interface ModelState {
  readonly model: string;
  readonly version: string;
  readonly state: VersionState;
  /** Why it is in this state; empty when there is nothing to say. */
  readonly reason: string;
}

/** Anything that serves until it is told to stop. */
export interface RunningService {
  /** Sorted by model, then version. */
  models(): readonly ModelState[];
  /** Resolves once every version is ready or has failed for good; rejects when the service cannot go on. */
  readonly ready: Promise<void>;
  /**
   * Takes nothing new, finishes what was accepted within `graceMs`, then closes every socket and ends every child.
   * Called once.
   */
  drain(graceMs: number): Promise<void>;
}

/** A coordinator, with or without workers in the same process. Addresses are `host:port` as bound. */
export interface RunningCluster extends RunningService {
  readonly grpcAddress: string;
  readonly httpAddress: string;
  readonly metricsAddress: string;
}

/** A worker on its own. */
export interface RunningWorker extends RunningService {
  readonly workerId: string;
  /** Where coordinators reach it, `host:port`. */
  readonly linkAddress: string;
  readonly metricsAddress: string;
}

/** Resolves once all sockets are bound. Rejects with a `ShoalError`, having closed what was open. */
export type StartCluster = (settings: Settings) => Promise<RunningCluster>;
export type StartWorker = (settings: Settings) => Promise<RunningWorker>;
