import type { ModelSpec } from '../../core/model.js';
import type { Random } from '../../core/random.js';
import { linearProfile } from './profile.js';
import { type SimModel, simSpec } from './rows.js';
import { type Sampler, uniform, weighted, wholeBetween } from './samplers.js';
import type { SimWorkerPlan } from './sim-worker.js';

/** The models and workers of a scenario, drawn at random: not too alike, for what suits only one shall not pass. */
export function drawModels(
  count: number,
  random: Random,
  specOf: (model: string, maxRows: number) => ModelSpec = (model, maxRows) => simSpec(model, maxRows),
): readonly SimModel[] {
  return Array.from({ length: count }, (_, index) => ({
    index,
    spec: specOf(`m${index}`, 2 ** wholeBetween(2, 6)(random)),
    profile: linearProfile(uniform(2, 10)(random), uniform(0.05, 1)(random)),
    noise: 0.1,
  }));
}

/** Each model is held by so many workers as `replicasOf` says, on workers that hold few others. */
export function drawWorkers(
  count: number,
  models: readonly SimModel[],
  replicasOf: (index: number) => number,
  random: Random,
): readonly SimWorkerPlan[] {
  const held: SimModel[][] = Array.from({ length: count }, () => []);
  let next = 0;
  models.forEach((model, index) => {
    const replicas = Math.min(count, replicasOf(index));
    for (let replica = 0; replica < replicas; replica++) held[next++ % count]?.push(model);
  });
  return held.map((mine, index) => ({
    workerId: `w${index}`,
    devices:
      random.next() < 0.7 ? [drawDevice('cpu', random)] : [drawDevice('cuda:0', random), drawDevice('cuda:1', random)],
    holds: mine.map((model) => ({ model, instances: 1 + random.int(2) })),
    pipelineDepth: random.int(3),
    latency: { baseMs: uniform(0.02, 0.3)(random), jitterMs: uniform(0, 0.2)(random) },
    speed: 1,
    tellsProfiles: random.next() < 0.5,
  }));
}

const drawDevice = (name: string, random: Random) => ({ name, lanes: 1 + random.int(2) });

/** Rows a second that the workers can do in all, in full batches, when the k-th model has the k-th share of the rows. */
export function capacityRowsPerS(
  workers: readonly SimWorkerPlan[],
  models: readonly SimModel[],
  shares: readonly number[],
): number {
  const msPerRow = models.reduce((sum, { profile, spec }, index) => {
    return sum + ((shares[index] ?? 0) * profile.msOf(spec.maxBatchSize)) / spec.maxBatchSize;
  }, 0);
  // An instance runs one batch at a time, however many lanes its device has.
  const lanesOf = ({ devices, holds }: SimWorkerPlan): number => {
    const instances = holds.reduce((sum, held) => sum + held.instances, 0);
    return devices.reduce((sum, { lanes }) => sum + Math.min(lanes, instances), 0);
  };
  return (1000 * workers.reduce((sum, worker) => sum + lanesOf(worker), 0)) / msPerRow;
}

/** The model whose index is drawn. */
export const pickModel =
  (models: readonly SimModel[], pick: Sampler<number>): Sampler<SimModel> =>
  (random) =>
    models[pick(random)] as SimModel;

export const evenShares = (count: number): readonly number[] => Array.from({ length: count }, () => 1 / count);

export const callers = (count: number): Sampler<string> =>
  weighted(Array.from({ length: count }, (_, index) => [1, `caller-${index}`] as const));
