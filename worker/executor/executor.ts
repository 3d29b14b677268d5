import { type CancelTimer, type Clock, machineNowUs, type Timers } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import type { ScatteredTensor, Tensor } from '../../core/tensor.js';
import { ExecutorProcess, type ProcessOptions } from './executor-process.js';
import type {
  Executed,
  Execution,
  FromExecutor,
  LoadRequest,
  ObservedModel,
  PrepareReport,
  PrepareRequest,
  ToExecutor,
} from './protocol.js';
import type { SlabInput } from './slab-transfer.js';
import { SlotSlabs } from './slot-slabs.js';

export interface ExecutorOptions extends ProcessOptions {
  /** A batch that runs longer is taken for a hang: the process is killed. Milliseconds. */
  readonly batchTimeoutMs: number;
  /** The same for loading and warming up. */
  readonly loadTimeoutMs: number;
  /** After `close`, how long the process may take to leave by itself. */
  readonly closeGraceMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** What an executor is given to run. */
export interface ExecutorWork {
  readonly inputs: readonly ScatteredTensor[];
  /** Empty: all. */
  readonly outputs: readonly string[];
  /** Microseconds from now until nobody waits for the answer any more; may be Infinity. */
  readonly budgetUs: number;
  readonly traceparent: string;
}

/** Durations in microseconds. */
export type WorkOutcome =
  | {
      readonly ok: true;
      readonly outputs: readonly Tensor[];
      readonly inputUs: number;
      readonly executeUs: number;
      readonly outputUs: number;
    }
  /** `reached` is false when the work certainly never began: it may be given to another executor at no cost. */
  | { readonly ok: false; readonly error: ShoalError; readonly reached: boolean };

interface Pending {
  readonly sequence: number;
  readonly slot: number;
  readonly inputUs: number;
  readonly done: (outcome: WorkOutcome) => void;
}

interface Question {
  readonly answer: (message: FromExecutor) => void;
  readonly fail: (error: ShoalError) => void;
}

/** A timer that fires so much too late tells of this process, not of the executor. Milliseconds. */
const absenceMs = 100;

/** A running executor process, as its worker holds it. */
export class Executor {
  readonly name: string;
  readonly pid: number;
  /** Settles once the process is gone: undefined after `close`, else what happened. */
  readonly exited: Promise<ShoalError | undefined>;
  readonly #process: ExecutorProcess;
  readonly #options: ExecutorOptions;
  readonly #slabs: SlotSlabs;
  readonly #pending: Pending[] = [];
  #questions: Question[] = [];
  #model: ObservedModel | undefined;
  #inputIndex = new Map<string, number>();
  #outputIndex = new Map<string, number>();
  #sequence = 0;
  #state: 'running' | 'closing' | 'gone' = 'running';
  /** Set before a kill of ours, so that the exit is told as what it was. */
  #verdict: ShoalError | undefined;
  #watchdog: CancelTimer | undefined;
  #headSinceMs = 0;

  /**
   * Starts a process that has no model yet.
   * @throws OUT_OF_SPACE, BAD_SETTING for a slab folder that cannot be used; EXECUTOR_CRASHED when no process starts.
   */
  static async start(options: ExecutorOptions): Promise<Executor> {
    return new Executor(await ExecutorProcess.start(options), options);
  }

  private constructor(process: ExecutorProcess, options: ExecutorOptions) {
    this.name = options.name;
    this.pid = process.pid;
    this.#process = process;
    this.#options = options;
    this.#slabs = new SlotSlabs(options.slabDir, process.slabs);
    this.exited = new Promise((resolve) => {
      process.listen(
        (message) => this.#receive(message),
        (crash) => {
          this.#slabs.closed();
          resolve(this.#onGone(crash));
        },
      );
    });
  }

  /** Batches that can be handed over now. */
  get freeSlots(): number {
    return this.#state === 'running' ? this.#slabs.freeCount : 0;
  }

  /** Batches handed over and not answered. */
  get pendingCount(): number {
    return this.#pending.length;
  }

  /** When the batch at the head began to count against its time limit (the clock's milliseconds). */
  get headSinceMs(): number {
    return this.#headSinceMs;
  }

  /** Makes the session. @throws MODEL_UNLOADABLE, PROVIDER_MISSING, EXECUTOR_CRASHED, EXECUTOR_TIMEOUT */
  async load(request: LoadRequest): Promise<ObservedModel> {
    const reply = await this.#ask({ kind: 'load', request }, 'loading its model');
    if (reply.kind !== 'loaded') throw unexpected(reply);
    this.#model = reply.observed;
    this.#inputIndex = new Map(reply.observed.inputs.map((spec, index) => [spec.name, index]));
    this.#outputIndex = new Map(reply.observed.outputs.map((spec, index) => [spec.name, index]));
    return reply.observed;
  }

  /** Warm-up and probes. @throws EXECUTOR_CRASHED, EXECUTOR_TIMEOUT */
  async prepare(request: PrepareRequest): Promise<PrepareReport> {
    const reply = await this.#ask({ kind: 'prepare', request }, 'warming up');
    if (reply.kind !== 'prepared') throw unexpected(reply);
    return reply.report;
  }

  /** @throws PROVIDER_MISSING, EXECUTOR_CRASHED, EXECUTOR_TIMEOUT */
  async check(device: LoadRequest['device']): Promise<void> {
    const reply = await this.#ask({ kind: 'check', device }, 'checking its device');
    if (reply.kind !== 'checked') throw unexpected(reply);
  }

  /**
   * Hands one batch over. There must be a free slot. `done` is called exactly once, never before `run` has returned.
   * @returns a ticket for `cancel`.
   */
  run(work: ExecutorWork, done: (outcome: WorkOutcome) => void): number {
    const sequence = ++this.#sequence;
    const slot = this.#slabs.take();
    if (slot === undefined || this.#state !== 'running') {
      if (slot !== undefined) this.#slabs.giveBack(slot);
      const error = new ShoalError('INTERNAL', `The executor ${this.name} was given a batch while it could take none.`);
      queueMicrotask(() => done({ ok: false, error, reached: false }));
      return sequence;
    }
    const startUs = machineNowUs();
    let execution: Execution;
    try {
      const inputs = this.#placeable(work.inputs);
      const { placements, byteLength } = this.#slabs.write(slot, inputs);
      execution = {
        sequence,
        slot,
        expiresAtUs: startUs + work.budgetUs,
        traceparent: work.traceparent,
        inputBytes: byteLength,
        inputs: placements,
        outputs: this.#outputIndices(work.outputs),
      };
    } catch (thrown) {
      this.#slabs.giveBack(slot);
      const error = ShoalError.from(thrown);
      queueMicrotask(() => done({ ok: false, error, reached: false }));
      return sequence;
    }
    this.#pending.push({ sequence, slot, inputUs: machineNowUs() - startUs, done });
    if (this.#pending.length === 1) this.#startWatch(this.#options.batchTimeoutMs);
    this.#process.send({ kind: 'execute', execution });
    return sequence;
  }

  /**
   * Gives a batch up. One that waits in its slot will not run and is answered CANCELLED in its turn; one that runs
   * already is answered as usual.
   */
  cancel(ticket: number): void {
    const pending = this.#pending.find((entry) => entry.sequence === ticket);
    if (pending !== undefined) this.#slabs.giveUp(pending.slot);
  }

  /** Ends the process, politely first; resolves when it is gone and its memory with it. */
  async close(): Promise<void> {
    if (this.#state === 'running') {
      this.#state = 'closing';
      this.#process.send({ kind: 'close' });
      const stop = this.#options.timers.after(this.#options.closeGraceMs, () => this.kill());
      await this.exited;
      stop();
    }
    await this.exited;
  }

  /** Ends the process at once. What it had is answered EXECUTOR_CRASHED, or `verdict`. */
  kill(verdict?: ShoalError): void {
    this.#verdict ??= verdict;
    this.#process.kill();
  }

  #ask(message: ToExecutor, doing: string): Promise<FromExecutor> {
    return new Promise<FromExecutor>((resolve, reject) => {
      if (this.#state !== 'running') {
        reject(new ShoalError('EXECUTOR_CRASHED', `The executor ${this.name} is gone.`));
        return;
      }
      const { loadTimeoutMs, timers } = this.#options;
      const stop = timers.after(loadTimeoutMs, () => {
        const text = `The executor ${this.name} was killed: ${doing} took longer than ${loadTimeoutMs} ms.`;
        this.kill(new ShoalError('EXECUTOR_TIMEOUT', text));
      });
      this.#questions.push({
        answer: (reply) => {
          stop();
          if (reply.kind === 'failed') reject(new ShoalError(reply.code, reply.message));
          else resolve(reply);
        },
        fail: (error) => {
          stop();
          reject(error);
        },
      });
      this.#process.send(message);
    });
  }

  #receive(message: FromExecutor): void {
    switch (message.kind) {
      case 'executed':
        this.#answer(message.executed.sequence, (pending) => this.#readResult(pending, message.executed));
        break;
      case 'refused': {
        const error = new ShoalError(message.code, message.message);
        this.#answer(message.sequence, ({ slot }) => {
          if (error.code === 'OUT_OF_SPACE') this.#slabs.makeRoom(slot);
          return { ok: false, error, reached: true };
        });
        break;
      }
      default:
        this.#questions.shift()?.answer(message);
    }
  }

  #answer(sequence: number, outcome: (pending: Pending) => WorkOutcome): void {
    const pending = this.#pending.shift();
    if (pending?.sequence !== sequence) {
      this.kill(new ShoalError('INTERNAL', `The executor ${this.name} answered batches out of order.`));
      if (pending !== undefined) this.#pending.unshift(pending);
      return;
    }
    const result = outcome(pending);
    this.#slabs.giveBack(pending.slot);
    // The next batch, if there is one, begins now; the running timer looks at this when it fires.
    this.#headSinceMs = this.#options.clock.nowMs();
    pending.done(result);
  }

  #readResult(pending: Pending, executed: Executed): WorkOutcome {
    const startUs = machineNowUs();
    try {
      const outputs = this.#slabs.read(pending.slot, executed, (index) => this.#outputName(index));
      return {
        ok: true,
        outputs,
        inputUs: pending.inputUs + executed.readUs,
        executeUs: executed.executeUs,
        outputUs: executed.writeUs + machineNowUs() - startUs,
      };
    } catch (thrown) {
      return { ok: false, error: ShoalError.from(thrown), reached: true };
    }
  }

  #outputName(index: number): string {
    return this.#model?.outputs[index]?.name ?? '';
  }

  #placeable(inputs: readonly ScatteredTensor[]): SlabInput[] {
    return inputs.map((tensor) => {
      const index = this.#inputIndex.get(tensor.name);
      if (index === undefined) {
        const known = [...this.#inputIndex.keys()].join(', ') || 'none';
        throw new ShoalError('INVALID_REQUEST', `The model has no input "${tensor.name}"; its inputs are: ${known}.`);
      }
      return { index, tensor };
    });
  }

  #outputIndices(names: readonly string[]): number[] {
    if (names.length === 0) return [...this.#outputIndex.values()];
    return names.map((name) => {
      const index = this.#outputIndex.get(name);
      if (index === undefined) {
        const known = [...this.#outputIndex.keys()].join(', ') || 'none';
        throw new ShoalError('INVALID_REQUEST', `The model has no output "${name}"; its outputs are: ${known}.`);
      }
      return index;
    });
  }

  /** One timer serves all batches: when it fires early for the batch at the head, it is set again for the rest. */
  #startWatch(limitMs: number): void {
    this.#headSinceMs = this.#options.clock.nowMs();
    this.#watchdog ??= this.#watchFor(limitMs, limitMs);
  }

  #watchFor(delayMs: number, limitMs: number): CancelTimer {
    const dueMs = this.#options.clock.nowMs() + delayMs;
    return this.#options.timers.after(delayMs, () => this.#watch(dueMs, limitMs));
  }

  #watch(dueMs: number, limitMs: number): void {
    this.#watchdog = undefined;
    if (this.#pending.length === 0 || this.#state === 'gone') return;
    const nowMs = this.#options.clock.nowMs();
    // This process was stopped or stalled itself: the answer may lie unread in the pipe, so the count begins again.
    if (nowMs - dueMs > absenceMs) this.#headSinceMs = nowMs;
    const leftMs = this.#headSinceMs + limitMs - nowMs;
    if (leftMs > 0) {
      this.#watchdog = this.#watchFor(leftMs, limitMs);
      return;
    }
    this.kill(
      new ShoalError(
        'EXECUTOR_TIMEOUT',
        `The executor ${this.name} was killed: a batch ran longer than ${limitMs} ms.`,
      ),
    );
  }

  #onGone(crash: ShoalError): ShoalError | undefined {
    const asked = this.#state === 'closing' && this.#verdict === undefined;
    this.#state = 'gone';
    this.#watchdog?.();
    const error = this.#verdict ?? crash;
    for (const [place, { done }] of this.#pending.splice(0).entries()) {
      done({ ok: false, error, reached: place === 0 });
    }
    const questions = this.#questions;
    this.#questions = [];
    for (const question of questions) question.fail(error);
    return asked ? undefined : error;
  }
}

const unexpected = (reply: FromExecutor): ShoalError =>
  new ShoalError('INTERNAL', `The executor gave an unexpected answer (${reply.kind}).`);
