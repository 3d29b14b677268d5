import { type LaneRule, naturalRule } from '../../coordinator/scheduling/lane-rule.js';
import { Piece } from '../../coordinator/scheduling/piece.js';
import { type Dispatch, Scheduler } from '../../coordinator/scheduling/scheduler.js';
import { VirtualClock } from '../../core/clock.js';

export class VirtualRequest extends Piece {
  readonly rows: number = 1;
  shapeKey = '';
  readonly deadlineMs: number;
  readonly arrivedMs: number;
  answeredMs = Number.NaN;
  constructor(arrivedMs: number, deadlineMs = Number.POSITIVE_INFINITY) {
    super();
    this.arrivedMs = arrivedMs;
    this.deadlineMs = deadlineMs;
  }

  /** False for what expired, was given up or is still on its way. */
  get isInTime(): boolean {
    return this.answeredMs <= this.deadlineMs;
  }
}

export interface VirtualServingOptions {
  readonly workers?: number;
  readonly depth?: number;
  readonly maxRows?: number;
  readonly batching?: Partial<LaneRule['batching']>;
  /** One execution of so many rows, milliseconds; asked once for each. */
  readonly executeMs: (rows: number) => number;
}

/** The real scheduler over workers that take as long as they are told to, in virtual time; one model, `m`. */
export class VirtualServing {
  readonly clock = new VirtualClock();
  readonly scheduler = new Scheduler<VirtualRequest>();
  /** Rows of each batch, in the order in which they were sent. */
  readonly batches: number[] = [];
  onAnswer: (request: VirtualRequest) => void = () => undefined;
  readonly #executeMs: (rows: number) => number;
  readonly #busy = new Set<string>();
  readonly #behind = new Map<string, Dispatch<VirtualRequest>[]>();
  #cancelWake: () => void = () => undefined;

  constructor({ workers = 1, depth = 1, maxRows = 64, batching = {}, executeMs }: VirtualServingOptions) {
    this.#executeMs = executeMs;
    this.scheduler.setLane('m', naturalRule(maxRows, batching));
    for (let i = 0; i < workers; i++) {
      const offer = { workerId: `w${i}`, device: 'cpu', deviceClass: 'cpu', slots: 1, depth };
      this.scheduler.offer('m', offer, 0);
    }
  }

  send(request: VirtualRequest): void {
    this.scheduler.enqueue('m', request, this.clock.nowMs());
    this.#pump();
  }

  #pump(): void {
    const nowMs = this.clock.nowMs();
    const { dispatches, wakeAtMs } = this.scheduler.decide(nowMs);
    for (const dispatch of dispatches) {
      this.batches.push(dispatch.rows);
      if (!this.#busy.has(dispatch.workerId)) this.#execute(dispatch);
      else this.#behind.set(dispatch.workerId, [...(this.#behind.get(dispatch.workerId) ?? []), dispatch]);
    }
    this.#cancelWake();
    if (wakeAtMs !== Number.POSITIVE_INFINITY) {
      this.#cancelWake = this.clock.after(wakeAtMs - nowMs, () => this.#pump());
    }
  }

  #execute(dispatch: Dispatch<VirtualRequest>): void {
    const { workerId, run, pieces, rows } = dispatch;
    const tookMs = this.#executeMs(rows);
    this.#busy.add(workerId);
    this.clock.after(tookMs, () => {
      const nowMs = this.clock.nowMs();
      this.#busy.delete(workerId);
      this.scheduler.answered(run, tookMs, 0, nowMs);
      this.scheduler.completed(run, nowMs);
      for (const request of pieces) {
        request.answeredMs = nowMs;
        this.onAnswer(request);
      }
      const next = this.#behind.get(workerId)?.shift();
      if (next !== undefined) this.#execute(next);
      this.#pump();
    });
  }
}
