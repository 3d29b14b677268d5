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

/** What all load processes of one run saw together. */
export interface LoadResult {
  readonly seen: RecorderSnapshot;
  readonly processes: number;
  readonly cpuUs: number;
  /** Of the busiest load process, 0…1. */
  readonly loopUtilisation: number;
  /** Of the busiest load process: CPU time by wall-clock time, 0…1. */
  readonly cpuUtilisation: number;
  /** CPU microseconds in the window of what `watches` name. */
  readonly serverCpuUs: Readonly<Record<string, number>>;
}

interface Share {
  readonly seen: RecorderSnapshot;
  readonly cost: HarnessCost;
}

type LoadChild = Child<ToLoadProcess, FromLoadProcess>;

/** Distinct seeds for the processes of one run. */
const seedOf = (seed: number, index: number): number => seed + index * 0x9e3779b1;

/**
 * Makes one run's load from `processes` processes of its own.
 * @throws NO_WORKER when nobody listens, INTERNAL when a load process dies
 */
export async function runLoad(job: LoadJob, options: FleetOptions): Promise<LoadResult> {
  const loads = shares(job.load, options.processes);
  const children: LoadChild[] = loads.map(() => forkChild('load-process', options.cpus));
  const stop = (): void => {
    for (const child of children) child.send({ kind: 'stop' });
  };
  try {
    await Promise.all(
      children.map((child, i) => {
        child.send({
          kind: 'prepare',
          job: {
            ...job,
            load: loads[i] ?? job.load,
            seed: seedOf(job.seed, i),
            maxInFlight: Math.ceil(job.maxInFlight / loads.length),
          },
        });
        return child.until((message) => expectReady(message));
      }),
    );
    const gauge = new CpuGauge(options.watches);
    const answers = loads.map(() => 0);
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
          return message.kind === 'result' ? { seen: message.seen, cost: message.cost } : undefined;
        }),
      ),
    );
    return combine(results, gauge.spent());
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

function combine(results: readonly Share[], serverCpuUs: Readonly<Record<string, number>>): LoadResult {
  const perWindow = ({ seen, cost }: Share): number => (seen.windowMs > 0 ? cost.cpuUs / 1000 / seen.windowMs : 0);
  return {
    seen: mergeSnapshots(results.map((result) => result.seen)),
    processes: results.length,
    cpuUs: results.reduce((sum, { cost }) => sum + cost.cpuUs, 0),
    loopUtilisation: Math.max(...results.map(({ cost }) => cost.loopUtilisation)),
    cpuUtilisation: Math.max(...results.map(perWindow)),
    serverCpuUs,
  };
}

function expectReady(message: FromLoadProcess): true | undefined {
  if (message.kind === 'failed') throw failure(message);
  return message.kind === 'ready' ? true : undefined;
}

const failure = ({ code, message }: { readonly code: string; readonly message: string }): ShoalError =>
  new ShoalError(isErrorCode(code) ? code : 'INTERNAL', message);
