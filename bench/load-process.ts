/** Entry of a load process: makes one share of the load of one run's groups and says what it saw. Forked by `load-fleet.ts`. */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { systemClock } from '../core/clock.js';
import { invariant, ShoalError } from '../core/errors.js';
import { compareAnswer } from './answers.js';
import type { InferCaller } from './infer-caller.js';
import { LoadRun } from './load.js';
import type { FromLoadProcess, HarnessCost, ToLoadProcess } from './load-messages.js';
import { openCaller } from './open-caller.js';
import { spinPacer, systemTimers, timerPacer } from './pacer.js';
import type { LoadJob } from './plan.js';
import type { RecorderSnapshot } from './recorder.js';

const connectTimeoutMs = 3_000;
const progressEveryMs = 500;

// grpc-js makes an Error object for every call, just in case; its stack is never looked at here.
Error.stackTraceLimit = 0;

function tell(message: FromLoadProcess, then: () => void = () => undefined): void {
  process.send?.(message, then);
}

function fail(thrown: unknown): void {
  const error = ShoalError.from(thrown);
  tell({ kind: 'failed', code: error.code, message: error.message }, () => process.exit(1));
}

/** CPU time and event-loop use between `open` and `close`, and stalls from the beginning. */
class CostMeter {
  readonly #delay = monitorEventLoopDelay({ resolution: 20 });
  #cpu = process.cpuUsage();
  #loop = performance.eventLoopUtilization();
  #cost: HarnessCost = { cpuUs: 0, loopUtilisation: 0, stallMs: 0 };

  constructor() {
    this.#delay.enable();
  }

  open(): void {
    this.#cpu = process.cpuUsage();
    this.#loop = performance.eventLoopUtilization();
  }

  close(): void {
    const { user, system } = process.cpuUsage(this.#cpu);
    const { utilization } = performance.eventLoopUtilization(this.#loop);
    this.#delay.disable();
    this.#cost = { cpuUs: user + system, loopUtilisation: utilization, stallMs: this.#delay.max / 1e6 };
  }

  get cost(): HarnessCost {
    return this.#cost;
  }
}

interface Prepared {
  readonly job: LoadJob;
  readonly caller: InferCaller;
}

let prepared: readonly Prepared[] = [];
let runs: readonly LoadRun[] = [];

/** The groups have the same window; the first to open and to close it speaks for all. */
function makeRuns(groups: readonly Prepared[]): readonly LoadRun[] {
  const meter = new CostMeter();
  const seen: (RecorderSnapshot | undefined)[] = groups.map(() => undefined);
  let edges: 'none' | 'opened' | 'closed' = 'none';
  const edge = (next: 'opened' | 'closed'): void => {
    if (edges === next || edges === 'closed') return;
    edges = next;
    if (next === 'opened') meter.open();
    else meter.close();
    tell({ kind: 'window', edge: next });
  };
  return groups.map(
    ({ job, caller }, i) =>
      new LoadRun(job, {
        caller,
        clock: systemClock,
        timers: systemTimers,
        pacer: job.pacing === 'spin' ? spinPacer(systemClock) : timerPacer(systemClock),
        verify: (body, payload) => compareAnswer(body, payload.expected ?? []),
        windowOpened: () => edge('opened'),
        windowClosed: () => edge('closed'),
        finished: (recorder) => {
          seen[i] = recorder.snapshot();
          const all = seen.filter((one) => one !== undefined);
          if (all.length === seen.length) {
            tell({ kind: 'result', seen: all, cost: meter.cost }, () => process.exit(0));
          }
        },
      }),
  );
}

async function prepare(jobs: readonly LoadJob[]): Promise<void> {
  prepared = await Promise.all(
    jobs.map(async (wanted) => {
      const job = { ...wanted, payloads: wanted.payloads.map((p) => ({ ...p, body: Buffer.from(p.body) })) };
      const caller = await openCaller(job);
      await caller.connect(connectTimeoutMs);
      return { job, caller };
    }),
  );
  tell({ kind: 'ready' });
}

function start(): void {
  invariant(prepared.length > 0, 'start comes after ready');
  runs = makeRuns(prepared);
  for (const run of runs) run.start();
  const answers = (): number => runs.reduce((sum, run) => sum + run.answers, 0);
  setInterval(() => tell({ kind: 'progress', answers: answers() }), progressEveryMs).unref();
}

process.on('message', (message: ToLoadProcess) => {
  try {
    if (message.kind === 'prepare') prepare(message.jobs).catch(fail);
    else if (message.kind === 'start') start();
    else if (runs.length === 0) process.exit(0);
    else for (const run of runs) run.stop();
  } catch (thrown) {
    fail(thrown);
  }
});
// Ctrl-C reaches the whole process group; the parent decides when to stop.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('uncaughtException', fail);
