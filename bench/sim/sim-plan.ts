import type { FairnessBound } from './checks/fairness.js';
import type { Fault } from './faults.js';
import type { LoadPlan } from './load.js';
import type { SimModel } from './rows.js';
import type { SimWorkerPlan } from './sim-worker.js';

/** Everything that a run depends on: the same plan gives the same run, to the last byte of its trace. */
export interface SimPlan {
  readonly scenario: string;
  readonly seed: number;
  readonly models: readonly SimModel[];
  readonly workers: readonly SimWorkerPlan[];
  readonly loads: readonly LoadPlan[];
  readonly faults: readonly Fault[];
  /** How long requests are asked for, virtual milliseconds. */
  readonly durationMs: number;
  /** As the coordinator's setting of this name. */
  readonly maxQueueRows: number;
  readonly maxAttempts: number;
  /** Throughput must be back so long after the last fault; undefined: it is not looked at. */
  readonly recoverMs: number | undefined;
  /** Callers who must get equal shares; undefined: it is not looked at. */
  readonly fairness: FairnessBound | undefined;
}

/** Until everybody has said hello. */
export const joinMs = 200;

/** When the last of the faults is over, from the start of the load; a worker that drained is back by then as well. */
export const lastFaultEndMs = (faults: readonly Fault[]): number =>
  Math.max(0, ...faults.map((fault) => fault.atMs + ('forMs' in fault ? fault.forMs : 1000)));
