import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Coordinator } from '../../coordinator/coordinator.js';
import { plainScheduling } from '../../coordinator/scheduling/scheduler.js';
import { systemClock, VirtualClock } from '../../core/clock.js';
import type { WorkerEndpoint } from '../../core/link.js';
import type { VersionStatus } from '../../core/model.js';
import { seededRandom } from '../../core/random.js';
import { createLogger } from '../../platform/telemetry/logger.js';
import { CoordinatorMeter } from './meter.js';
import { simSpec } from './rows.js';
import { scenarios } from './scenarios.js';
import type { SimPlan } from './sim-plan.js';
import { simulate } from './simulation.js';

/** What scheduling cost at one size of the cluster. */
interface Cost {
  readonly requests: number;
  readonly meanBatchRows: number;
  /** Microseconds of CPU in the coordinator's code for each request. */
  readonly perRequestUs: number;
  /** The same of the simulator's own code, which does the same for each request whatever the size of the cluster. */
  readonly simulatorUs: number;
  /** How much of the coordinator's is the meter's own reading of the clock. */
  readonly meterUs: number;
}

const repetitions = 3;
const idleModels = 10_000;
/** Of each worker in the scenario `scale`. */
const requestsPerWorkerS = 20;
const measuredSeed = 1;

/** The scenario `scale` without faults, as long as it takes to ask so many requests at the same load for each worker. */
export function costPlan(count: number, requests: number): SimPlan {
  const seconds = requests / (requestsPerWorkerS * count);
  const scale = scenarios.scale;
  if (scale === undefined) throw new Error('invariant broken: there is a scenario called scale');
  return { ...scale.plan(measuredSeed, { workers: count, models: count, seconds }), faults: [] };
}

function measureCost(plan: SimPlan, crossingUs: number): Cost {
  const meter = new CoordinatorMeter(systemClock);
  const startedMs = systemClock.nowMs();
  const cpuBefore = process.cpuUsage();
  const { tally, metered, violation } = simulate(plan, { journal: false, meter });
  const { user, system } = process.cpuUsage(cpuBefore);
  if (metered === undefined) throw new Error('invariant broken: a run with a meter is metered');
  // The meter reads a wall clock. Where others had the core in between, only this share of the time was ours.
  const share = Math.min(1, (user + system) / 1000 / (systemClock.nowMs() - startedMs));
  if (violation !== undefined) throw new Error(`the run that was measured is not valid: ${violation.sentence}`);
  return {
    requests: tally.requests,
    meanBatchRows: tally.meanBatchRows,
    perRequestUs: (metered.coordinatorMs * share * 1000) / metered.requests,
    simulatorUs: (metered.simulatorMs * share * 1000) / metered.requests,
    meterUs: (meter.crossings * crossingUs) / metered.requests,
  };
}

/** Microseconds that a crossing with nothing in it is booked with. */
function emptyCrossingUs(): number {
  const meter = new CoordinatorMeter(systemClock);
  const rounds = 200_000;
  for (let round = 0; round < 2 * rounds; round++) {
    if (round === rounds) meter.reset();
    meter.inside(() => undefined);
  }
  return (meter.spentMs * 1000) / meter.crossings;
}

const median = (costs: readonly Cost[]): Cost =>
  [...costs].sort((a, b) => a.perRequestUs - b.perRequestUs)[costs.length >> 1] as Cost;

/** Heap that idle models take: the words their worker sent, which the coordinator keeps, and what it adds to them. */
export function idleModelBytes(count: number): { readonly sentBytes: number; readonly ownBytes: number } {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const heapBytes = (): number => {
    collect();
    collect();
    return process.memoryUsage().heapUsed;
  };
  const clock = new VirtualClock();
  const coordinator = new Coordinator({
    ...{ clock, timers: clock, defer: clock.defer, random: seededRandom(1) },
    log: createLogger({ level: 'silent', destination: { write: () => undefined } }),
    observer: {
      answered: () => undefined,
      failed: () => undefined,
      dispatched: () => undefined,
      retried: () => undefined,
      executedLate: () => undefined,
    },
    dial: () => {
      throw new Error('invariant broken: nobody announces itself here');
    },
    ...{ maxQueueRows: 4096, maxAttempts: 2, replicaGraceMs: 5000, workerTtlMs: 10_000, scheduling: plainScheduling },
  });
  const emptyBytes = heapBytes();
  const versions: readonly VersionStatus[] = Array.from({ length: count }, (_, index) => ({
    ...{ model: `model-${index}`, version: '1', state: 'ready', reason: '', slots: 1, profiles: {} },
    spec: simSpec(`model-${index}`, 32),
    instances: [{ id: '0', device: 'cpu', state: 'idle', reason: '', pid: index, restarts: 0 }],
  }));
  const sentBytes = heapBytes() - emptyBytes;
  const worker = { workerId: 'w0', devices: ['cpu'], softwareVersion: '', pid: 1, host: '', pipelineDepth: 1 };
  const endpoint: WorkerEndpoint = {
    open(events) {
      clock.after(0, () => events.message({ kind: 'hello', worker, versions }));
      return { send: () => undefined, close: () => undefined };
    },
  };
  coordinator.fleet.add('w0', 'simulated', endpoint);
  clock.advance(1);
  const ownBytes = heapBytes() - emptyBytes - sentBytes;
  if (coordinator.versions().length !== count) throw new Error('invariant broken: every model was registered');
  return { sentBytes: sentBytes / count, ownBytes: ownBytes / count };
}

const row = (name: string, { requests, meanBatchRows, perRequestUs, simulatorUs, meterUs }: Cost): string =>
  `${name.padEnd(32)} ${perRequestUs.toFixed(2).padStart(8)} µs a request (${meterUs.toFixed(2)} of it the meter's), the simulator's own ${simulatorUs.toFixed(2)}; ${requests} requests, ${meanBatchRows.toFixed(2)} rows a batch`;

/** What scheduling costs at two sizes of the cluster, and what idle models cost. Real time: no two runs are alike. */
export function measureText(requests: number): string {
  // First, while the heap holds nothing else that could be collected meanwhile.
  const { sentBytes, ownBytes } = idleModelBytes(idleModels);
  const crossingUs = emptyCrossingUs();
  const small = costPlan(4, requests);
  const large = costPlan(1000, requests);
  const warmUp = Math.ceil(requests / 5);
  for (const count of [4, 1000]) measureCost(costPlan(count, warmUp), crossingUs);
  const costs = Array.from({ length: repetitions }, () => ({
    small: measureCost(small, crossingUs),
    large: measureCost(large, crossingUs),
  }));
  const smallCost = median(costs.map((cost) => cost.small));
  const largeCost = median(costs.map((cost) => cost.large));
  const ratio = largeCost.perRequestUs / smallCost.perRequestUs;
  const simulatorRatio = largeCost.simulatorUs / smallCost.simulatorUs;
  return [
    `CPU in the coordinator's code (infer, messages of workers, timers, deferred decisions; collections of garbage where they fall),\nin the second half of each run; medians of ${repetitions} runs in turn:`,
    row('4 workers, 4 models', smallCost),
    row('1,000 workers, 1,000 models', largeCost),
    `ratio ${ratio.toFixed(2)}; of the simulator's own code, which only meets a larger heap, ${simulatorRatio.toFixed(2)}`,
    '',
    `Heap of ${idleModels} idle models: ${ownBytes.toFixed(0)} bytes each of the coordinator's own, and ${sentBytes.toFixed(0)} for what their worker says of each.`,
    '',
  ].join('\n');
}
