import { type BatchingRule, type ModelSpec, openQueue } from '../../core/model.js';
import type { Random } from '../../core/random.js';
import { callers, capacityRowsPerS, drawModels, drawWorkers, evenShares, pickModel } from './cast.js';
import { drawFaults } from './faults.js';
import type { LoadPlan } from './load.js';
import { linearProfile } from './profile.js';
import { leastWidth, simSpec } from './rows.js';
import { always, blend, logNormal, streamOf, uniform, weighted, wholeBetween, zipf, zipfShares } from './samplers.js';
import type { SimPlan } from './sim-plan.js';

/** How large a scenario is to be. */
export interface ScenarioSize {
  readonly workers: number;
  readonly models: number;
  /** Virtual seconds of load. */
  readonly seconds: number;
}

export interface Scenario {
  /** What it is for, in a line. */
  readonly about: string;
  readonly defaults: ScenarioSize;
  /** All chance in it comes from the seed. */
  readonly plan: (seed: number, size: ScenarioSize) => SimPlan;
}

const common = { maxQueueRows: 4096, maxAttempts: 2, recoverMs: undefined, fairness: undefined, faults: [] } as const;

const calm: Scenario = {
  about: 'a fifth of what the workers can do, without deadlines, one row a request',
  defaults: { workers: 8, models: 6, seconds: 20 },
  plan(seed, size) {
    const random = streamOf(seed, 2);
    const models = drawModels(size.models, random);
    const workers = drawWorkers(size.workers, models, () => 3, random);
    const model = pickModel(models, zipf(size.models, 1));
    const ratePerS = 0.2 * capacityRowsPerS(workers, models, zipfShares(size.models, 1));
    const loads: readonly LoadPlan[] = [
      { kind: 'open', ratePerS, mix: { model, caller: callers(4) } },
      { kind: 'closed', callers: size.workers, thinkMs: 20, mix: { model, caller: always('closed') } },
    ];
    return { ...common, scenario: 'calm', seed, models, workers, loads, durationMs: size.seconds * 1000 };
  },
};

const overload: Scenario = {
  about: 'twice what the workers can do, with deadlines around 100 ms',
  defaults: { workers: 4, models: 2, seconds: 10 },
  plan(seed, size) {
    const random = streamOf(seed, 2);
    const models = drawModels(size.models, random);
    const workers = drawWorkers(size.workers, models, () => size.workers, random);
    const mix = {
      model: pickModel(models, wholeBetween(0, size.models - 1)),
      caller: callers(4),
      allowedMs: blend([
        [3, always(100)],
        [1, logNormal(80, 0.7)],
      ]),
    };
    const ratePerS = 2 * capacityRowsPerS(workers, models, evenShares(size.models));
    const loads: readonly LoadPlan[] = [{ kind: 'open', ratePerS, mix }];
    return { ...common, scenario: 'overload', seed, models, workers, loads, durationMs: size.seconds * 1000 };
  },
};

/** Whatever a config may ask of the scheduler, in some combination. */
function drawSpec(model: string, maxRows: number, random: Random): ModelSpec {
  const isOneIn = (count: number): boolean => random.int(count) === 0;
  const batching: Partial<BatchingRule> = {
    maxQueueDelayUs: random.int(3) * 1000,
    preferredRows: isOneIn(4) ? [maxRows / 2] : [],
    preserveOrdering: isOneIn(4),
    priorityLevels: 3,
    defaultPriorityLevel: 2,
    priorityMode: isOneIn(2) ? 'strict' : 'weighted',
    queuePolicy: {
      ...openQueue,
      ...(isOneIn(4) ? { timeoutUs: 200_000, timeoutAction: isOneIn(2) ? 'delay' : 'reject' } : {}),
      ...(isOneIn(4) ? { maxRequests: 100 } : {}),
    },
    fixedRows: isOneIn(4) ? [1, 2, maxRows / 2, maxRows] : [],
  };
  // Two of the three widths have a length to be padded to; the third is batched by itself.
  const buckets = { lengths: [leastWidth + 2], inputs: [{ tensor: 'x', axis: 1, padValue: 0 }], outputs: [] };
  const resources = isOneIn(4) ? [{ name: 'R', count: 1, global: false }] : [];
  return simSpec(model, maxRows, batching, { buckets: isOneIn(3) ? buckets : undefined, resources });
}

const mixed: Scenario = {
  about:
    'three shapes, three priorities, one row to more than a batch, deadlines for some, cancellations, bursts, a death',
  defaults: { workers: 6, models: 4, seconds: 20 },
  plan(seed, size) {
    const random = streamOf(seed, 2);
    const models = drawModels(size.models, random, (model, maxRows) => drawSpec(model, maxRows, random));
    const workers = drawWorkers(size.workers, models, () => 3, random);
    const mix = {
      model: pickModel(models, zipf(size.models, 0.8)),
      caller: callers(6),
      rows: blend([
        [6, always(1)],
        [3, wholeBetween(2, 8)],
        [1, wholeBetween(8, 150)],
      ]),
      width: weighted([
        [4, leastWidth],
        [3, leastWidth + 1],
        [1, leastWidth + 6],
      ]),
      priority: weighted([
        [2, 0],
        [1, 1],
        [2, 2],
        [2, 3],
      ]),
      allowedMs: blend([
        [1, always(Number.POSITIVE_INFINITY)],
        [2, logNormal(150, 0.8)],
      ]),
      cancelAfterMs: blend([
        [9, always(Number.POSITIVE_INFINITY)],
        [1, uniform(0, 60)],
      ]),
    };
    // A request has 10 rows on the average.
    const ratePerS = (0.5 / 10) * capacityRowsPerS(workers, models, zipfShares(size.models, 0.8));
    const bursts = { onMs: 200, offMs: 300 };
    const loads: readonly LoadPlan[] = [
      { kind: 'open', ratePerS: ratePerS / 2, mix },
      { kind: 'open', ratePerS: ratePerS / 2, mix, bursts },
      { kind: 'closed', callers: 2 * size.workers, thinkMs: 5, mix: { ...mix, caller: always('closed') } },
    ];
    const durationMs = size.seconds * 1000;
    // For good: what is on the way to it when everything is shut down must not go on for ever.
    const death = { kind: 'die', atMs: 0.8 * durationMs, worker: 0, forMs: Number.POSITIVE_INFINITY } as const;
    return { ...common, scenario: 'mixed', seed, models, workers, loads, durationMs, faults: [death] };
  },
};

/** The last fault ends no later than this share of the load; the first comes no sooner than half of it. */
const faultShare = 0.4;

const faults: Scenario = {
  about: 'a third of what the workers can do, while they die, stall, slow down, drain, crash and lose their links',
  defaults: { workers: 8, models: 4, seconds: 25 },
  plan(seed, size) {
    const random = streamOf(seed, 2);
    const models = drawModels(size.models, random);
    const workers = drawWorkers(size.workers, models, () => 4, random);
    const model = pickModel(models, zipf(size.models, 0.8));
    const durationMs = size.seconds * 1000;
    const lastEndMs = durationMs * faultShare;
    const window = { fromMs: lastEndMs / 2, toMs: lastEndMs - 1000, lastEndMs };
    const cancelAfterMs = blend([
      [19, always(Number.POSITIVE_INFINITY)],
      [1, uniform(0, 40)],
    ]);
    const allowedMs = blend([
      [1, always(Number.POSITIVE_INFINITY)],
      [1, logNormal(500, 0.5)],
    ]);
    const ratePerS = 0.3 * capacityRowsPerS(workers, models, zipfShares(size.models, 0.8));
    const loads: readonly LoadPlan[] = [
      { kind: 'open', ratePerS, mix: { model, caller: callers(4), cancelAfterMs, allowedMs } },
    ];
    return {
      ...common,
      ...{ scenario: 'faults', seed, models, workers, loads, durationMs },
      faults: drawFaults(2 * size.workers, size.workers, window, random),
      // A link that failed often waits up to 5 s before its next try.
      recoverMs: 6000,
    };
  },
};

const equalCallers = ['flood', 'steady-1', 'steady-2', 'steady-3'];

const fair: Scenario = {
  about: 'equal callers of one model who all want more than they can get, one of them ten times as much',
  defaults: { workers: 2, models: 1, seconds: 10 },
  plan(seed, size) {
    const random = streamOf(seed, 2);
    // Slow ones: what matters is who gets how much of little.
    const models = Array.from({ length: size.models }, (_, index) => ({
      index,
      spec: simSpec(`m${index}`, 2 ** wholeBetween(2, 5)(random)),
      profile: linearProfile(uniform(5, 15)(random), uniform(1, 4)(random)),
      noise: 0.1,
    }));
    const workers = drawWorkers(size.workers, models, () => size.workers, random);
    const model = pickModel(models, wholeBetween(0, size.models - 1));
    const capacity = capacityRowsPerS(workers, models, evenShares(size.models));
    // Each steady caller alone wants half of everything; a fair share is a quarter.
    const loads = equalCallers.map((name): LoadPlan => {
      const ratePerS = capacity * (name === 'flood' ? 5 : 0.5);
      return { kind: 'open', ratePerS, mix: { model, caller: always(name), allowedMs: always(200) } };
    });
    const fairness = { callers: equalCallers, maxRatio: 2 };
    return { ...common, scenario: 'fair', seed, models, workers, loads, fairness, durationMs: size.seconds * 1000 };
  },
};

const scale: Scenario = {
  about: 'a thousand workers, a thousand models by Zipf popularity, bursts, some workers slow and some dying',
  defaults: { workers: 1000, models: 1000, seconds: 20 },
  plan(seed, size) {
    const random = streamOf(seed, 2);
    const shares = zipfShares(size.models, 0.9);
    const models = Array.from({ length: size.models }, (_, index) => ({
      index,
      spec: simSpec(`m${index}`, 32),
      profile: linearProfile(uniform(10, 30)(random), uniform(0.2, 1)(random)),
      noise: 0.15,
    }));
    // Twice what its share of the load asks for, and never a single one.
    const replicas = shares.map((share) => Math.max(2, Math.ceil(share * size.workers * 2)));
    const plain = drawWorkers(size.workers, models, (index) => replicas[index] ?? 2, random);
    const workers = plain.map((worker) => ({ ...worker, speed: random.next() < 0.05 ? 0.3 : 1 }));
    const mix = {
      model: pickModel(models, zipf(size.models, 0.9)),
      caller: callers(20),
      rows: blend([
        [9, always(1)],
        [1, wholeBetween(2, 6)],
      ]),
      allowedMs: blend([
        [1, always(Number.POSITIVE_INFINITY)],
        [1, always(1000)],
      ]),
    };
    // Twenty requests a second for each worker: batches stay small, so that there is much to decide.
    const ratePerS = 20 * size.workers;
    const durationMs = size.seconds * 1000;
    const loads: readonly LoadPlan[] = [
      { kind: 'open', ratePerS: ratePerS / 2, mix },
      { kind: 'open', ratePerS: ratePerS / 2, mix, bursts: { onMs: 500, offMs: 1000 } },
    ];
    const window = { fromMs: durationMs / 4, toMs: durationMs / 2, lastEndMs: 0.6 * durationMs };
    const few = Math.ceil(size.workers / 20);
    return {
      ...common,
      ...{ scenario: 'scale', seed, models, workers, loads, durationMs },
      faults: drawFaults(few, size.workers, window, random),
    };
  },
};

export const scenarios: Readonly<Record<string, Scenario>> = { calm, overload, mixed, faults, fair, scale };
