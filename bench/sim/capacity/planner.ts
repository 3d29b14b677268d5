import type { SimModel } from '../rows.js';
import { joinMs } from '../sim-plan.js';
import { simulate } from '../simulation.js';
import { areMet, inTimeShare, latencyAt, type Objective, type Outcome } from './objectives.js';
import type { Traffic } from './traffic.js';

/** What is to be planned. Every worker has one device and holds every model, one instance of each. */
export interface CapacityQuestion {
  readonly models: readonly SimModel[];
  readonly traffic: Traffic;
  readonly objectives: readonly Objective[];
  readonly seed: number;
  readonly mostWorkers: number;
  readonly pipelineDepth: number;
  /** One way between coordinator and worker, milliseconds. */
  readonly linkMs: number;
  readonly maxQueueRows: number;
}

/** How so many workers did. Latencies in milliseconds, of all requests; null where so many were refused. */
export interface Attempt {
  readonly workers: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Share of requests answered well within their deadline. */
  readonly inTime: number;
  readonly refused: number;
  readonly meanBatchRows: number;
  /** Share of the time in which the devices had something to do. */
  readonly utilisation: number;
  readonly meets: boolean;
}

/** How so many workers do of which one dies at half time, for good. Counts are of requests asked from then on. */
export interface DeathReport {
  readonly workers: number;
  readonly p99Ms: number | null;
  readonly inTime: number;
  readonly refused: number;
  readonly meets: boolean;
  /** From the death until the objectives held again for good; null: they never did. */
  readonly recoveredAfterMs: number | null;
}

export interface CapacityAnswer {
  /** The least number that meets the objectives; null: none that was allowed does. */
  readonly workers: number | null;
  /** By number of workers. */
  readonly attempts: readonly Attempt[];
  /** Of the least number, and of one more; empty where there is none. */
  readonly deaths: readonly DeathReport[];
}

/** Devices so idle that more of them cannot help. */
const idleUtilisation = 0.02;

/** Tries numbers of workers by simulation, from what the work asks for at least. */
export function planCapacity(question: CapacityQuestion): CapacityAnswer {
  const attempts = new Map<number, Attempt>();
  const meets = (workers: number): boolean => {
    const known = attempts.get(workers) ?? attempt(question, workers);
    attempts.set(workers, known);
    return known.meets;
  };
  let failing = 0;
  let passing: number | undefined;
  for (let next = Math.min(leastWorkers(question), question.mostWorkers); passing === undefined; ) {
    if (meets(next)) passing = next;
    else {
      failing = next;
      const isIdle = (attempts.get(next)?.utilisation ?? 0) < idleUtilisation;
      if (next >= question.mostWorkers || isIdle) break;
      next = Math.min(next * 2, question.mostWorkers);
    }
  }
  while (passing !== undefined && passing - failing > 1) {
    const middle = (passing + failing) >> 1;
    if (meets(middle)) passing = middle;
    else failing = middle;
  }
  // What one more brings belongs to the answer.
  if (passing !== undefined) meets(passing + 1);
  const sorted = [...attempts.values()].sort((a, b) => a.workers - b.workers);
  const deaths = passing === undefined ? [] : [passing, passing + 1].map((workers) => dieAtHalfTime(question, workers));
  return { workers: passing ?? null, attempts: sorted, deaths };
}

/** Fewer workers cannot do the work even in full batches; they may meet lenient objectives all the same. */
function leastWorkers({ traffic }: CapacityQuestion): number {
  let workMs = 0;
  for (const { model, rows } of traffic.requests) {
    const most = model.spec.maxBatchSize;
    workMs += (rows * model.profile.msOf(most)) / most;
  }
  return Math.max(1, Math.ceil(workMs / traffic.durationMs));
}

function attempt(question: CapacityQuestion, workers: number): Attempt {
  const { outcomes, result } = play(question, workers, undefined);
  return {
    workers,
    p50Ms: finite(latencyAt(outcomes, 0.5)),
    p99Ms: finite(latencyAt(outcomes, 0.99)),
    inTime: inTimeShare(outcomes),
    refused: refusedCount(outcomes),
    meanBatchRows: result.tally.meanBatchRows,
    utilisation: result.utilisation,
    meets: areMet(question.objectives, outcomes),
  };
}

function dieAtHalfTime(question: CapacityQuestion, workers: number): DeathReport {
  const diesMs = question.traffic.durationMs / 2;
  const { outcomes } = play(question, workers, diesMs);
  const after = outcomes.filter(({ sentMs }) => sentMs >= diesMs);
  return {
    workers,
    p99Ms: finite(latencyAt(after, 0.99)),
    inTime: inTimeShare(after),
    refused: refusedCount(after),
    meets: areMet(question.objectives, outcomes),
    recoveredAfterMs: recoveredAfterMs(question.objectives, after, diesMs, question.traffic.durationMs),
  };
}

/**
 * When the objectives held again, in windows of a hundredth of the load and of at least `leastInWindow` requests: the
 * end of the last window in which they did not. Null when that is the last of all.
 */
export function recoveredAfterMs(
  objectives: readonly Objective[],
  after: readonly Outcome[],
  diesMs: number,
  endMs: number,
): number | null {
  const windows = Math.max(1, Math.min(50, Math.floor(after.length / leastInWindow)));
  const windowMs = (endMs - diesMs) / windows;
  for (let index = windows - 1; index >= 0; index--) {
    const fromMs = diesMs + index * windowMs;
    const isLast = index === windows - 1;
    const here = after.filter(({ sentMs }) => sentMs >= fromMs && (isLast || sentMs < fromMs + windowMs));
    if (!areMet(objectives, here)) return isLast ? null : (index + 1) * windowMs;
  }
  return 0;
}

const leastInWindow = 200;

function play(question: CapacityQuestion, workers: number, diesMs: number | undefined) {
  const { models, traffic, seed, pipelineDepth, linkMs, maxQueueRows } = question;
  const outcomes: Outcome[] = [];
  const result = simulate(
    {
      ...{ scenario: 'plan', seed, models, durationMs: traffic.durationMs, maxQueueRows, maxAttempts: 2 },
      ...{ recoverMs: undefined, fairness: undefined },
      workers: Array.from({ length: workers }, (_, index) => ({
        workerId: `w${index}`,
        devices: [{ name: 'device', lanes: 1 }],
        holds: models.map((model) => ({ model, instances: 1 })),
        pipelineDepth,
        latency: { baseMs: linkMs, jitterMs: linkMs / 4 },
        speed: 1,
        tellsProfiles: true,
      })),
      loads: [{ kind: 'traced', requests: traffic.requests }],
      faults: diesMs === undefined ? [] : [{ kind: 'die', atMs: diesMs, worker: 0, forMs: Number.POSITIVE_INFINITY }],
    },
    {
      journal: false,
      answered: ({ request, code, latencyMs, isInTime }) => {
        const latency = code === undefined ? latencyMs : Number.POSITIVE_INFINITY;
        outcomes.push({ sentMs: request.sentMs - joinMs, latencyMs: latency, isInTime });
      },
    },
  );
  if (result.violation !== undefined)
    throw new Error(`the simulation broke a promise (${result.violation.rule}): ${result.violation.sentence}`);
  return { outcomes, result };
}

const finite = (ms: number): number | null => (Number.isFinite(ms) ? ms : null);

const refusedCount = (outcomes: readonly Outcome[]): number =>
  outcomes.reduce((count, { latencyMs }) => count + (Number.isFinite(latencyMs) ? 0 : 1), 0);
