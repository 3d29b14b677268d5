import { ShoalError } from '../core/errors.js';
import { seededRandom } from '../core/random.js';
import { combineCeiling, runCeiling } from './ceiling.js';
import type { CeilingJob, CeilingSample } from './ceiling-messages.js';
import type { CallerOptions } from './infer-caller.js';
import { type InputChoices, planInputs } from './inputs.js';
import { runLoad } from './load-fleet.js';
import { type Load, type LoadJob, loadText, type Pacing, type Payload } from './plan.js';
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

export type CallSettings = Pick<CallerOptions, 'client' | 'connections' | 'metadata' | 'callers'>;

export interface SessionPlan {
  readonly target: Target;
  readonly loads: readonly Load[];
  readonly inputs: InputChoices;
  readonly runs: number;
  readonly warmupMs: number;
  readonly durationMs: number;
  readonly drainMs: number;
  readonly deadlineMs: number | undefined;
  readonly maxInFlight: number;
  readonly pacing: Pacing;
  readonly seed: number;
  /** Different requests used in turn. */
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
  const inputs = planInputs(model.inputs, plan.inputs);
  const made = makePayloads(target, inputs, plan.payloads, seededRandom(plan.seed));
  const payloads = await tryPayloads(target, made, plan.verify);

  const runMs = plan.warmupMs + plan.durationMs;
  const totalMs = plan.runs * (ceilingMs(plan.ceiling) + plan.loads.length * runMs);
  let doneMs = 0;
  const ceilingSamples: CeilingSample[] = [];
  const runs = new Map<Load, RunSummary[]>();
  for (let run = 1; run <= plan.runs && !stop.aborted; run++) {
    const ofRuns = `run ${run} of ${plan.runs}`;
    if (plan.ceiling !== undefined) {
      events.progressed(doneMs, totalMs, `${ofRuns}, ceiling`);
      ceilingSamples.push(...(await runCeiling(ceilingJob(plan.ceiling, plan.seed, inputs), plan.ceiling.cpus, stop)));
      doneMs += ceilingMs(plan.ceiling);
    }
    for (const load of plan.loads) {
      if (stop.aborted) break;
      const label = `${ofRuns}, ${loadText(load)}`;
      events.progressed(doneMs, totalMs, label);
      const startedAtMs = doneMs;
      const result = await runLoad(loadJob(plan, load, payloads, run), {
        processes: plan.processes,
        cpus: plan.cpus,
        watches: plan.watches,
        stop,
        progressed: (answers, elapsedMs) =>
          events.progressed(startedAtMs + Math.min(elapsedMs, runMs), totalMs, `${label}, ${answers} answers`),
      });
      doneMs += runMs;
      const context = { load, pacing: plan.pacing, rows: inputs.rows, deadlineMs: plan.deadlineMs };
      // A run that was stopped during its warm-up has measured nothing.
      if (result.seen.windowMs > 0) runs.set(load, [...(runs.get(load) ?? []), summariseRun(result, context)]);
    }
  }
  events.progressed(totalMs, totalMs, 'done');

  if (runs.size === 0) throw new ShoalError('CANCELLED', 'Stopped before anything was measured.');
  const ceiling = plan.ceiling === undefined ? undefined : combineCeiling(plan.ceiling, ceilingSamples);
  const points = [...runs].map(([load, summaries]) => withFraction(summarisePoint(load, summaries), ceiling));
  return {
    tool: 'shoal bench',
    formatVersion: 1,
    ...target,
    rowsPerRequest: inputs.rows,
    requestBytes: payloads[0]?.body.length ?? 0,
    runs: plan.runs,
    durationMs: plan.durationMs,
    warmupMs: plan.warmupMs,
    deadlineMs: plan.deadlineMs,
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

function loadJob(plan: SessionPlan, load: Load, payloads: readonly Payload[], run: number): LoadJob {
  const { warmupMs, durationMs, drainMs, deadlineMs, maxInFlight, pacing } = plan;
  const { server } = plan.target;
  return {
    ...plan.calls,
    server,
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
