import { systemClock } from '../core/clock.js';
import { isErrorCode, ShoalError } from '../core/errors.js';
import { type Child, forkChild } from './child-process.js';
import type { FromLoadProcess, HarnessCost, ToLoadProcess } from './load-messages.js';
import { type LoadJob, shares } from './plan.js';
import { type CpuSample, type CpuWatch, cpuBetween, sampleCpu } from './process-cpu.js';
import { mergeSnapshots, type RecorderSnapshot } from './recorder.js';

export interface FleetOptions {
  readonly processes: number;
  /** `taskset -c` list for the load processes; empty: not pinned. */
  readonly cpus: string;
  readonly watches: readonly CpuWatch[];
  /** Aborted: end the window now and report what there is. */
  readonly stop: AbortSignal;
  /** About twice a second, with the time since the start of the warm-up. */
  progressed(answers: number, elapsedMs: number): void;
}

/** What all load processes of one run saw of one group. CPU is shared out by answers. */
export interface LoadResult {
  readonly seen: RecorderSnapshot;
  readonly processes: number;
  readonly cpuUs: number;
  /** Of the busiest load process, 0…1. */
  readonly loopUtilisation: number;
  /** Of the busiest load process: CPU time by wall-clock time, 0…1. */
  readonly cpuUtilisation: number;
  /** The longest time for which one of them did not get to run. */
  readonly stallMs: number;
  /** CPU microseconds in the window of what `watches` name. */
  readonly serverCpuUs: Readonly<Record<string, number>>;
}

interface Share {
  /** By group; a group may be too small for every process to have a share of it. */
  readonly seen: readonly (RecorderSnapshot | undefined)[];
  readonly cost: HarnessCost;
}

type LoadChild = Child<ToLoadProcess, FromLoadProcess>;

/** Distinct seeds for the processes and groups of one run. */
const seedOf = (seed: number, process: number, group: number): number =>
  seed + process * 0x9e3779b1 + group * 0x85ebca6b;

/** By process and group: who does what. No process without a share of any. */
export function processPlans(
  jobs: readonly LoadJob[],
  processes: number,
): readonly (readonly (LoadJob | undefined)[])[] {
  const parts = jobs.map((job) => shares(job.load, processes));
  const count = Math.max(...parts.map(({ length }) => length));
  return Array.from({ length: count }, (_, i) =>
    jobs.map((job, group) => {
      const load = parts[group]?.[i];
      if (load === undefined) return undefined;
      const maxInFlight = Math.ceil(job.maxInFlight / (parts[group]?.length ?? 1));
      return { ...job, load, maxInFlight, seed: seedOf(job.seed, i, group) };
    }),
  );
}

/**
 * Makes one run's load from up to `processes` processes of its own, all groups at the same time.
 * @param jobs one for each group
 * @returns what was seen of each
 * @throws NO_WORKER when nobody listens, INTERNAL when a load process dies
 */
export async function runLoad(jobs: readonly LoadJob[], options: FleetOptions): Promise<readonly LoadResult[]> {
  const plans = processPlans(jobs, options.processes);
  const children: LoadChild[] = plans.map(() => forkChild('load-process', options.cpus));
  const stop = (): void => {
    for (const child of children) child.send({ kind: 'stop' });
  };
  try {
    await Promise.all(
      children.map((child, i) => {
        child.send({ kind: 'prepare', jobs: (plans[i] ?? []).filter((job) => job !== undefined) });
        return child.until((message) => expectReady(message));
      }),
    );
    const gauge = new CpuGauge(options.watches);
    const answers = plans.map(() => 0);
    const startedMs = systemClock.nowMs();
    for (const child of children) child.send({ kind: 'start' });
    if (options.stop.aborted) stop();
    options.stop.addEventListener('abort', stop);
    const results = await Promise.all(
      children.map((child, i) =>
        child.until((message): Share | undefined => {
          if (message.kind === 'failed') throw failure(message);
          if (message.kind === 'window' && i === 0) gauge.mark(message.edge);
          if (message.kind === 'progress') {
            answers[i] = message.answers;
            const sum = answers.reduce((all, n) => all + n, 0);
            options.progressed(sum, systemClock.nowMs() - startedMs);
          }
          if (message.kind !== 'result') return undefined;
          let next = 0;
          const seen = (plans[i] ?? []).map((job) => (job === undefined ? undefined : message.seen[next++]));
          return { seen, cost: message.cost };
        }),
      ),
    );
    return jobs.map((_, group) => combine(results, group, gauge.spent()));
  } finally {
    options.stop.removeEventListener('abort', stop);
    for (const child of children) child.kill();
  }
}

/** Server CPU between the opening and the closing of the window, as the first load process announces them. */
class CpuGauge {
  readonly #watches: readonly CpuWatch[];
  #opened: CpuSample | undefined;
  #spent: Readonly<Record<string, number>> = {};

  constructor(watches: readonly CpuWatch[]) {
    this.#watches = watches;
    sampleCpu(watches);
  }

  mark(edge: 'opened' | 'closed'): void {
    const sample = sampleCpu(this.#watches);
    if (edge === 'opened') this.#opened = sample;
    else if (this.#opened !== undefined) this.#spent = cpuBetween(this.#opened, sample);
  }

  spent(): Readonly<Record<string, number>> {
    return this.#spent;
  }
}

function combine(results: readonly Share[], group: number, serverCpuUs: Readonly<Record<string, number>>): LoadResult {
  const own = results.flatMap(({ seen }) => seen[group] ?? []);
  const all = results.flatMap(({ seen }) => seen.filter((one) => one !== undefined));
  const answers = (snapshots: readonly RecorderSnapshot[]): number =>
    snapshots.reduce((sum, { answeredInWindow }) => sum + answeredInWindow, 0);
  const share = own.length === all.length ? 1 : answers(own) / Math.max(1, answers(all));
  const perWindow = ({ seen, cost }: Share): number => {
    const windowMs = Math.max(0, ...seen.map((one) => one?.windowMs ?? 0));
    return windowMs > 0 ? cost.cpuUs / 1000 / windowMs : 0;
  };
  return {
    seen: mergeSnapshots(own),
    processes: results.length,
    cpuUs: results.reduce((sum, { cost }) => sum + cost.cpuUs, 0) * share,
    loopUtilisation: Math.max(...results.map(({ cost }) => cost.loopUtilisation)),
    cpuUtilisation: Math.max(...results.map(perWindow)),
    stallMs: Math.max(...results.map(({ cost }) => cost.stallMs)),
    serverCpuUs: Object.fromEntries(Object.entries(serverCpuUs).map(([name, cpuUs]) => [name, cpuUs * share])),
  };
}

function expectReady(message: FromLoadProcess): true | undefined {
  if (message.kind === 'failed') throw failure(message);
  return message.kind === 'ready' ? true : undefined;
}

const failure = ({ code, message }: { readonly code: string; readonly message: string }): ShoalError =>
  new ShoalError(isErrorCode(code) ? code : 'INTERNAL', message);
