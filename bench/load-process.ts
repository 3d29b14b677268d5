/** Entry of a load process: makes one share of one run's load and says what it saw. Forked by `load-fleet.ts`. */
import { performance } from 'node:perf_hooks';
import { systemClock } from '../core/clock.js';
import { invariant, ShoalError } from '../core/errors.js';
import { compareAnswer } from './answers.js';
import type { InferCaller } from './infer-caller.js';
import { LoadRun } from './load.js';
import type { FromLoadProcess, HarnessCost, ToLoadProcess } from './load-messages.js';
import { openCaller } from './open-caller.js';
import { spinPacer, systemTimers, timerPacer } from './pacer.js';
import type { LoadJob } from './plan.js';

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

/** CPU time and event-loop use between `open` and `close`. */
class CostMeter {
  #cpu = process.cpuUsage();
  #loop = performance.eventLoopUtilization();
  #cost: HarnessCost = { cpuUs: 0, loopUtilisation: 0 };

  open(): void {
    this.#cpu = process.cpuUsage();
    this.#loop = performance.eventLoopUtilization();
  }

  close(): void {
    const { user, system } = process.cpuUsage(this.#cpu);
    const { utilization } = performance.eventLoopUtilization(this.#loop);
    this.#cost = { cpuUs: user + system, loopUtilisation: utilization };
  }

  get cost(): HarnessCost {
    return this.#cost;
  }
}

function makeRun(job: LoadJob, caller: InferCaller): LoadRun {
  const meter = new CostMeter();
  return new LoadRun(job, {
    caller,
    clock: systemClock,
    timers: systemTimers,
    pacer: job.pacing === 'spin' ? spinPacer(systemClock) : timerPacer(systemClock),
    verify: (body, payload) => compareAnswer(body, payload.expected ?? []),
    windowOpened: () => {
      meter.open();
      tell({ kind: 'window', edge: 'opened' });
    },
    windowClosed: () => {
      meter.close();
      tell({ kind: 'window', edge: 'closed' });
    },
    finished: (recorder) => {
      tell({ kind: 'result', seen: recorder.snapshot(), cost: meter.cost }, () => process.exit(0));
    },
  });
}

let job: LoadJob | undefined;
let caller: InferCaller | undefined;
let run: LoadRun | undefined;

async function prepare(wanted: LoadJob): Promise<void> {
  job = { ...wanted, payloads: wanted.payloads.map((p) => ({ ...p, body: Buffer.from(p.body) })) };
  caller = await openCaller(job);
  await caller.connect(connectTimeoutMs);
  tell({ kind: 'ready' });
}

function start(): void {
  invariant(job !== undefined && caller !== undefined, 'start comes after ready');
  const started = makeRun(job, caller);
  run = started;
  started.start();
  setInterval(() => tell({ kind: 'progress', answers: started.answers }), progressEveryMs).unref();
}

process.on('message', (message: ToLoadProcess) => {
  try {
    if (message.kind === 'prepare') prepare(message.job).catch(fail);
    else if (message.kind === 'start') start();
    else if (run === undefined) process.exit(0);
    else run.stop();
  } catch (thrown) {
    fail(thrown);
  }
});
// Ctrl-C reaches the whole process group; the parent decides when to stop.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('uncaughtException', fail);
