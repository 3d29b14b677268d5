import { Coordinator } from '../../coordinator/coordinator.js';
import { plainScheduling } from '../../coordinator/scheduling/scheduler.js';
import type { ServingObserver } from '../../coordinator/serving.js';
import { VirtualClock } from '../../core/clock.js';
import { type InferOutcome, noParameters } from '../../core/inference.js';
import type { Batch, ToCoordinator, ToWorker } from '../../core/link.js';
import { createLogger } from '../../platform/telemetry/logger.js';
import { DispatchedRowsCheck } from './checks/dispatched-rows.js';
import { FairnessCheck } from './checks/fairness.js';
import { OneAnswerCheck } from './checks/one-answer.js';
import { ProgressCheck } from './checks/progress.js';
import { QueuesCheck } from './checks/queues.js';
import { RecoveryCheck } from './checks/recovery.js';
import { StandingCheck } from './checks/standing.js';
import { faultText, inflict } from './faults.js';
import { Journal } from './journal.js';
import { answerLine, askLine, sentLine, toldLine } from './journal-lines.js';
import { type RequestPlan, startLoad } from './load.js';
import type { CoordinatorMeter } from './meter.js';
import { meteredEndpoint, meteredShell } from './metered-coordinator.js';
import { Referee, type Violation } from './referee.js';
import { eachRow, requestTensor } from './rows.js';
import { streamOf } from './samplers.js';
import { joinMs, lastFaultEndMs, type SimPlan } from './sim-plan.js';
import type { SimAnswer, SimRequest } from './sim-request.js';
import type { LinkProbe, SimSession } from './sim-session.js';
import { SimWorker } from './sim-worker.js';
import { Tally, type TallySummary } from './tally.js';

export interface SimOptions {
  /** Keep the last lines of a readable trace, and tell each to `traceLine`. On unless said otherwise. */
  readonly journal?: boolean;
  readonly traceLine?: (line: string) => void;
  /** Told of every answer. */
  readonly answered?: (answer: SimAnswer) => void;
  readonly meter?: CoordinatorMeter;
}

export interface Metered {
  readonly requests: number;
  /** Real time in the coordinator's code, and in the simulator's around it, milliseconds. */
  readonly coordinatorMs: number;
  readonly simulatorMs: number;
}

export interface SimResult {
  readonly plan: SimPlan;
  readonly tally: TallySummary;
  /** Share of the time of the load in which the devices had something to do, on the average. */
  readonly utilisation: number;
  readonly longestQueueRows: number;
  /** What the meter saw in the second half of the load, when lanes and profiles are there; undefined without one. */
  readonly metered: Metered | undefined;
  /** Events of virtual time: how much there was to simulate. */
  readonly events: number;
  readonly violation: Violation | undefined;
  readonly lastLines: readonly string[];
}

/** Longest time that what is queued when the load ends may take. */
const settleMs = 300_000;
/** After a shutdown, everything that was ever set must have fired within this. */
const aftermathMs = 120_000;
/** How often queues are looked at during the load: seldom where there are many, for a look goes through all of them. */
const looksAt = (models: number): number => 2 * Math.max(10, Math.min(100, Math.ceil(1000 / models)));

const silent = createLogger({ level: 'silent', destination: { write: () => undefined } });

/** One run of the real coordinator over simulated workers, in virtual time. */
class Simulation {
  readonly #plan: SimPlan;
  readonly #options: SimOptions;
  readonly #clock = new VirtualClock();
  readonly #journal: Journal;
  readonly #referee: Referee;
  readonly #coordinator: Coordinator;
  readonly #workers: readonly SimWorker[];
  readonly #tally = new Tally();
  readonly #answers: OneAnswerCheck;
  readonly #dispatches: DispatchedRowsCheck;
  readonly #standing: StandingCheck;
  readonly #queues: QueuesCheck;
  readonly #progress: ProgressCheck;
  readonly #recovery: RecoveryCheck | undefined;
  readonly #fairness: FairnessCheck | undefined;
  #lastId = 0;
  #events = 0;

  constructor(plan: SimPlan, options: SimOptions) {
    this.#plan = plan;
    this.#options = options;
    const clock = this.#clock;
    this.#journal = new Journal(clock, options.journal ?? true, options.traceLine);
    this.#referee = new Referee(clock, this.#journal);
    const { blame } = this.#referee;
    const probe: LinkProbe = {
      sent: (session, message) => this.#sent(session, message),
      told: (session, message) => this.#told(session, message),
      began: (batch) => this.#began(batch),
      ended: (session, reason) => {
        this.#journal.add(`${session.workerId} is gone: ${reason}`);
        this.#standing.ended(session);
        this.#dispatches.ended(session);
      },
    };
    this.#workers = plan.workers.map(
      (worker, index) => new SimWorker(worker, clock, streamOf(plan.seed, 1000 + index), probe),
    );
    const byId = new Map(this.#workers.map((worker) => [worker.workerId, worker]));
    this.#progress = new ProgressCheck(blame, clock);
    this.#answers = new OneAnswerCheck(blame, plan.maxAttempts);
    this.#dispatches = new DispatchedRowsCheck(
      blame,
      (id) => this.#answers.open(id),
      (workerId, key) => byId.get(workerId)?.batchLimit(key) ?? 0,
    );
    this.#standing = new StandingCheck(blame);
    this.#queues = new QueuesCheck(blame, queueBound(plan, this.#workers));
    this.#fairness = plan.fairness === undefined ? undefined : new FairnessCheck(blame, plan.fairness);
    this.#recovery = recoveryCheck(plan, blame);
    this.#coordinator = this.#makeCoordinator();
  }

  run(): SimResult {
    const plan = this.#plan;
    const { durationMs } = plan;
    const { meter } = this.#options;
    for (const worker of this.#workers) {
      const endpoint = meter === undefined ? worker : meteredEndpoint(worker, meter);
      this.#coordinator.fleet.add(worker.workerId, 'simulated', endpoint);
    }
    this.#runUntil(joinMs);
    const busyBeforeMs = this.#busyMs();
    plan.loads.forEach((load, index) => {
      startLoad(load, durationMs, this.#clock, streamOf(plan.seed, 10 + index), (request, done) =>
        this.#ask(request, done),
      );
    });
    for (const fault of plan.faults) {
      this.#clock.after(fault.atMs, () => {
        const worker = this.#workers[fault.worker];
        if (worker === undefined) return;
        this.#journal.add(`FAULT ${worker.workerId}: ${faultText(fault)}`);
        inflict(fault, worker);
      });
    }
    const looks = looksAt(plan.models.length);
    let requestsBefore = 0;
    for (let look = 1; look <= looks; look++) {
      this.#runUntil(joinMs + (durationMs * look) / looks);
      this.#queues.looked(this.#coordinator.versions());
      if (look !== looks / 2) continue;
      meter?.reset();
      requestsBefore = this.#lastId;
    }
    const devices = this.#workers.reduce((sum, worker) => sum + worker.devices.length, 0);
    const utilisation = (this.#busyMs() - busyBeforeMs) / (durationMs * devices);
    const metered = meter && {
      requests: this.#lastId - requestsBefore,
      coordinatorMs: meter.spentMs,
      simulatorMs: meter.elapsedMs - meter.spentMs,
    };
    this.#finish();
    return {
      plan,
      tally: this.#tally.summary(),
      utilisation,
      longestQueueRows: this.#queues.longest,
      metered,
      events: this.#events,
      violation: this.#referee.violation,
      lastLines: this.#journal.lastLines,
    };
  }

  /** Lets what is queued be answered, looks at what must hold at the end, and shuts everything down. */
  #finish(): void {
    const limitMs = this.#clock.nowMs() + settleMs;
    while (this.#answers.openCount > 0 && this.#clock.nextMs <= limitMs && this.#step());
    // Batches whose callers have all gone, and workers that were on their way back, get some more time.
    this.#runUntil(this.#clock.nowMs() + 10_000);
    if (this.#referee.violation !== undefined) return;
    const coordinator = this.#coordinator;
    this.#answers.ended();
    this.#queues.ended(coordinator.versions(), coordinator.workers(), this.#answers.openCount);
    this.#recovery?.ended();
    this.#fairness?.ended();
    // Without a period of grace it is done before it returns.
    void coordinator.drain(0);
    this.#runUntil(this.#clock.nowMs() + aftermathMs);
    this.#queues.shutDown(this.#clock.pendingTimers);
  }

  #makeCoordinator(): Coordinator {
    const { meter } = this.#options;
    const clock = this.#clock;
    const defer = (run: () => void): void => {
      if (this.#progress.happens()) clock.defer(run);
    };
    const shell = { timers: clock, defer };
    const observer: ServingObserver = {
      answered: () => undefined,
      failed: () => undefined,
      dispatched: (_model, _version, rows, _requests, reason) => this.#tally.dispatched(rows, reason),
      retried: () => this.#tally.retried(),
      executedLate: () => undefined,
    };
    return new Coordinator({
      clock,
      ...(meter === undefined ? shell : meteredShell(shell, meter)),
      random: streamOf(this.#plan.seed, 1),
      log: silent,
      observer,
      dial: () => {
        throw new Error('invariant broken: simulated workers are given, not announced');
      },
      maxQueueRows: this.#plan.maxQueueRows,
      maxAttempts: this.#plan.maxAttempts,
      replicaGraceMs: 5000,
      workerTtlMs: 10_000,
      scheduling: plainScheduling,
    });
  }

  #ask(plan: RequestPlan, done: () => void): void {
    const sentMs = this.#clock.nowMs();
    const { model, rows, width, priority, caller, allowedMs, cancelAfterMs } = plan;
    const deadlineMs = sentMs + allowedMs;
    const id = ++this.#lastId;
    const request: SimRequest = {
      ...{ id, model, caller, rows, width, priority, sentMs, deadlineMs },
      ...{ state: 'asking', isCancelled: false, timesSent: 0, rowsOut: 0 },
    };
    this.#answers.asked(request);
    this.#tally.asked(rows);
    if (this.#journal.on) this.#journal.add(askLine(request));
    const message = {
      model: model.spec.model,
      version: '',
      id: '',
      parameters: priority === 0 ? noParameters : { priority },
      inputs: [requestTensor(id, rows, width)],
      outputs: [],
    };
    const context = { arrivedMs: sentMs, deadlineMs, traceparent: '', caller };
    const { meter } = this.#options;
    const reply = (outcome: InferOutcome): void => this.#answered(request, outcome, done);
    const cancel =
      meter === undefined
        ? this.#coordinator.infer(message, context, reply)
        : meter.inside(() =>
            this.#coordinator.infer(message, context, (outcome) => meter.outside(() => reply(outcome))),
          );
    if (request.state === 'asking') request.state = 'waiting';
    if (cancelAfterMs === Number.POSITIVE_INFINITY) return;
    this.#clock.after(cancelAfterMs, () => {
      if (request.state !== 'waiting') return;
      request.isCancelled = true;
      this.#journal.add(`request ${id} is cancelled by its caller`);
      if (meter === undefined) cancel();
      else meter.inside(cancel);
    });
  }

  #answered(request: SimRequest, outcome: InferOutcome, done: () => void): void {
    const nowMs = this.#clock.nowMs();
    this.#answers.answered(request, outcome, nowMs);
    const answer: SimAnswer = {
      request,
      latencyMs: nowMs - request.sentMs,
      code: outcome.ok ? undefined : outcome.error.code,
      isInTime: outcome.ok && nowMs <= request.deadlineMs,
      batchRows: outcome.ok ? outcome.response.receipt.batchRows : 0,
    };
    if (this.#journal.on) this.#journal.add(answerLine(answer, outcome));
    this.#tally.answered(answer);
    if (outcome.ok) {
      this.#recovery?.answered(nowMs - joinMs);
      this.#fairness?.answered(request.caller, request.rows);
    }
    this.#options.answered?.(answer);
    done();
  }

  #sent(session: SimSession, message: ToWorker): void {
    if (this.#journal.on) this.#journal.add(sentLine(session.workerId, message));
    this.#standing.sent(session, message);
    if (message.kind === 'execute') this.#dispatches.sent(session, message.batch, this.#clock.nowMs());
  }

  #told(session: SimSession, message: ToCoordinator): void {
    if (this.#journal.on) this.#journal.add(toldLine(session.workerId, message));
    this.#standing.told(session, message);
    this.#dispatches.told(session, message);
  }

  /** Nobody is to blame for what changed while a batch was on its way; but it should be little. */
  #began(batch: Batch): void {
    const nowMs = this.#clock.nowMs();
    eachRow(batch, (id) => {
      const request = this.#answers.open(id);
      if (request === undefined || request.deadlineMs <= nowMs) this.#tally.executedInVain();
    });
  }

  #step(): boolean {
    if (this.#referee.violation !== undefined) return false;
    this.#events++;
    try {
      return this.#clock.step() && this.#progress.happens();
    } catch (thrown) {
      const what = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      this.#referee.blame('no-exceptions', `An event ended with an exception: ${what}`);
      return false;
    }
  }

  #runUntil(endMs: number): void {
    while (this.#clock.nextMs <= endMs && this.#step());
    if (this.#referee.violation === undefined) this.#clock.runUntil(endMs);
  }

  #busyMs(): number {
    return this.#workers.reduce(
      (sum, { devices }) => sum + devices.reduce((busy, device) => busy + device.busyMs, 0),
      0,
    );
  }
}

export const simulate = (plan: SimPlan, options: SimOptions = {}): SimResult => new Simulation(plan, options).run();

/** What may wait for a model: what was let in, and what lost workers gave back. */
function queueBound(plan: SimPlan, workers: readonly SimWorker[]): (model: string) => number {
  const bounds = new Map(
    plan.models.map(({ spec }) => {
      const key = `${spec.model}/${spec.version}`;
      // Callers with less than their part of a full queue may have as much again, all together.
      const letIn = 2 * plan.maxQueueRows;
      // Nothing comes back where nobody is lost.
      if (plan.faults.length === 0) return [spec.model, letIn];
      const batches = workers.reduce((sum, worker) => sum + worker.batchLimit(key), 0);
      return [spec.model, letIn + batches * Math.max(1, spec.maxBatchSize)];
    }),
  );
  return (model) => bounds.get(model) ?? 0;
}

function recoveryCheck(plan: SimPlan, blame: Referee['blame']): RecoveryCheck | undefined {
  const { recoverMs, faults, durationMs } = plan;
  const [first] = faults;
  if (recoverMs === undefined || first === undefined) return undefined;
  return new RecoveryCheck(blame, {
    before: { fromMs: first.atMs * 0.25, toMs: first.atMs },
    after: { fromMs: lastFaultEndMs(faults) + recoverMs, toMs: durationMs },
  });
}
