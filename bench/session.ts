import { ShoalError } from '../core/errors.js';
import { seededRandom } from '../core/random.js';
import { combineCeiling, runCeiling } from './ceiling.js';
import type { CeilingJob, CeilingSample } from './ceiling-messages.js';
import type { CallerOptions } from './infer-caller.js';
import { type InputChoices, planShapes } from './inputs.js';
import { runLoad } from './load-fleet.js';
import { groupText, type LoadGroup, type LoadJob, type Pacing, type Payload, spinsFor } from './plan.js';
import { type RunSummary, summarisePoint, summariseRun } from './point.js';
import type { CpuWatch } from './process-cpu.js';
import { type BenchReport, thisMachine, withFraction } from './report.js';
import { describeTarget, makePayloads, type Target, tryPayloads } from './target.js';

/** The bare loop to run beside the load. */
export interface CeilingWish {
  readonly modelFile: string;
  readonly providers: readonly string[];
  readonly intraOpThreads: number;
  readonly batchSizes: readonly number[];
  readonly warmupMs: number;
  /** At each batch size, in each run. */
  readonly durationMs: number;
  /** `taskset -c` list; empty: not pinned. */
  readonly cpus: string;
}

export type CallSettings = Pick<CallerOptions, 'client' | 'connections' | 'metadata'>;

export interface SessionPlan {
  readonly target: Target;
  /** Measured one after the other; the groups of one point at the same time. */
  readonly points: readonly (readonly LoadGroup[])[];
  /** One for each shape; requests are of each in turn. */
  readonly inputs: readonly InputChoices[];
  readonly runs: number;
  readonly warmupMs: number;
  readonly durationMs: number;
  readonly drainMs: number;
  readonly maxInFlight: number;
  readonly pacing: Pacing;
  readonly seed: number;
  /** Different requests of each shape, used in turn. */
  readonly payloads: number;
  readonly verify: boolean;
  readonly processes: number;
  /** How the calls are made; the same in every load process. */
  readonly calls: CallSettings;
  readonly cpus: string;
  readonly watches: readonly CpuWatch[];
  readonly ceiling: CeilingWish | undefined;
}

export interface SessionEvents {
  /** `doneMs` of `totalMs` of measuring are behind us; `label` says what runs now. */
  progressed(doneMs: number, totalMs: number, label: string): void;
}

/** Time that one pass of the bare loop takes, milliseconds. */
const ceilingMs = (wish: CeilingWish | undefined): number =>
  wish === undefined ? 0 : wish.batchSizes.length * (wish.warmupMs + wish.durationMs);

/**
 * The whole measurement, in order: what the model takes, a trial request, then run after run the ceiling and
 * every load, one after the other, so that a machine that changes its pace does so for all of them.
 * @param stop aborted: the run under way is cut short and what there is, is reported
 */
export async function runSession(plan: SessionPlan, events: SessionEvents, stop: AbortSignal): Promise<BenchReport> {
  const { target } = plan;
  const model = await describeTarget(target);
  const shapes = planShapes(model.inputs, plan.inputs);
  const inputs = shapes[0];
  const made = makePayloads(target, shapes, plan.payloads, seededRandom(plan.seed));
  const payloads = await tryPayloads(target, made, shapes.length, plan.verify);

  const runMs = plan.warmupMs + plan.durationMs;
  const totalMs = plan.runs * (ceilingMs(plan.ceiling) + plan.points.length * runMs);
  let doneMs = 0;
  const ceilingSamples: CeilingSample[] = [];
  const runs = new Map<LoadGroup, RunSummary[]>();
  for (let run = 1; run <= plan.runs && !stop.aborted; run++) {
    const ofRuns = `run ${run} of ${plan.runs}`;
    if (plan.ceiling !== undefined) {
      events.progressed(doneMs, totalMs, `${ofRuns}, ceiling`);
      ceilingSamples.push(...(await runCeiling(ceilingJob(plan.ceiling, plan.seed, inputs), plan.ceiling.cpus, stop)));
      doneMs += ceilingMs(plan.ceiling);
    }
    for (const groups of plan.points) {
      if (stop.aborted) break;
      const label = `${ofRuns}, ${groups.map(groupText).join('; ')}`;
      events.progressed(doneMs, totalMs, label);
      const startedAtMs = doneMs;
      const results = await runLoad(
        groups.map((group) => loadJob(plan, group, payloads, run)),
        {
          processes: plan.processes,
          cpus: plan.cpus,
          watches: plan.watches,
          stop,
          progressed: (answers, elapsedMs) =>
            events.progressed(startedAtMs + Math.min(elapsedMs, runMs), totalMs, `${label}, ${answers} answers`),
        },
      );
      doneMs += runMs;
      const spins = spinsFor(groups, plan.pacing);
      groups.forEach((group, i) => {
        const result = results[i];
        // A run that was stopped during its warm-up has measured nothing.
        if (result === undefined || result.seen.windowMs === 0) return;
        const summary = summariseRun(result, { spins, rows: inputs.rows, deadlineMs: group.deadlineMs });
        runs.set(group, [...(runs.get(group) ?? []), summary]);
      });
    }
  }
  events.progressed(totalMs, totalMs, 'done');

  if (runs.size === 0) throw new ShoalError('CANCELLED', 'Stopped before anything was measured.');
  const ceiling = plan.ceiling === undefined ? undefined : combineCeiling(plan.ceiling, ceilingSamples);
  const points = [...runs].map(([group, summaries]) => withFraction(summarisePoint(group, summaries), ceiling));
  return {
    tool: 'shoal bench',
    formatVersion: 2,
    ...target,
    shapes: shapes.map(({ specs }) => specs.map(({ name, shape }) => ({ name, shape }))),
    rowsPerRequest: inputs.rows,
    requestBytes: payloads[0]?.body.length ?? 0,
    runs: plan.runs,
    durationMs: plan.durationMs,
    warmupMs: plan.warmupMs,
    processes: plan.processes,
    ...plan.calls,
    pacing: plan.pacing,
    seed: plan.seed,
    machine: thisMachine(),
    points,
    ceiling,
    stoppedEarly: stop.aborted,
    verdict: points.every((point) => point.verdict.valid) && !stop.aborted ? 'VALID' : 'INVALID',
  };
}

function loadJob(
  plan: SessionPlan,
  { load, deadlineMs, callers }: LoadGroup,
  payloads: readonly Payload[],
  run: number,
): LoadJob {
  const { warmupMs, durationMs, drainMs, maxInFlight, pacing } = plan;
  const { server } = plan.target;
  return {
    ...plan.calls,
    server,
    callers,
    load,
    warmupMs,
    durationMs,
    drainMs,
    deadlineMs,
    maxInFlight,
    pacing,
    seed: plan.seed + run,
    payloads,
  };
}

function ceilingJob(wish: CeilingWish, seed: number, inputs: CeilingJob['inputs']): CeilingJob {
  const { specs, batched, files } = inputs;
  return {
    modelFile: wish.modelFile,
    providers: wish.providers,
    intraOpThreads: wish.intraOpThreads,
    inputs: { specs, batched, files },
    batchSizes: batched ? wish.batchSizes : [1],
    warmupMs: wish.warmupMs,
    durationMs: wish.durationMs,
    seed,
  };
}
