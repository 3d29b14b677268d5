import { invariant } from '../../core/errors.js';
import { IndexedHeap } from '../../core/indexed-heap.js';
import type { ProfilePoint } from '../../core/model.js';
import type { CloseReason } from '../serving.js';
import { Calm } from './calm.js';
import { closeRule } from './close-rule.js';
import { Devices } from './devices.js';
import { type Newcomer, predictAnswer } from './feasibility.js';
import { Lane, type LaneCapacity, type LaneRun } from './lane.js';
import type { LaneRule } from './lane-rule.js';
import type { Piece } from './piece.js';
import type { ShapeQueue } from './shape-queue.js';
import { rowsInTime } from './shedding.js';
import { WaitingRoom } from './waiting-room.js';
import { type Offer, Workplaces } from './workplaces.js';

/** Pieces bound to a worker, to be executed as one. */
export interface Dispatch<P extends Piece> {
  readonly laneKey: string;
  readonly workerId: string;
  readonly device: string;
  readonly pieces: readonly P[];
  readonly rows: number;
  readonly reason: CloseReason;
  /** Since when an instance was free for it; the instant of the decision when none is free yet. */
  readonly freeSinceMs: number;
  /** To be handed back to `completed`. */
  readonly run: LaneRun;
}

export interface Decision<P extends Piece> {
  readonly dispatches: readonly Dispatch<P>[];
  /** Their deadline passed while they waited. These and those below are already out of every queue. */
  readonly expired: readonly P[];
  /** They waited for as long as their queue policy allows. */
  readonly timedOut: readonly P[];
  /** Their deadline has not passed, but could not be met any more. */
  readonly hopeless: readonly P[];
  /** When to decide again if nothing else happens; Infinity: never. */
  readonly wakeAtMs: number;
}

export interface SchedulerOptions {
  /** Batches that run on one device at a time, of whatever versions; 0: as many as there are instances. */
  readonly deviceConcurrency: number;
  /** Amounts of rate-limiter resources; what is not named is as large as the greediest version asks for. */
  readonly resources: Readonly<Record<string, number>>;
  /** A caller's share relative to others, 1 by default. */
  readonly callerWeight: (caller: string) => number;
  /** What of a caller's time passes outside our doors now, milliseconds. */
  readonly doorMs: () => number;
}

export const plainScheduling: SchedulerOptions = {
  deviceConcurrency: 0,
  resources: {},
  callerWeight: () => 1,
  doorMs: () => 0,
};

/** A batch that may leave now, and when to look again if it is better to wait. */
type Candidate =
  | { readonly queue: ShapeQueue; readonly rows: number; readonly reason: CloseReason; readonly wakeAtMs: number }
  | { readonly queue: undefined; readonly wakeAtMs: number };

/**
 * The central queue: one lane per model version, one queue per shape in it. Late binding: a batch is made
 * only when a worker has room for it, so nothing waits behind a slow worker while another idles.
 *
 * Room is of two kinds. A free instance takes whatever `closeRule` lets go. Behind a busy instance a worker may
 * hold `depth` further batches to hide the link's latency; those must be full, because a batch that could
 * still grow loses by leaving early (two halves take longer than a whole), and they leave no sooner than the link
 * needs, because what is bound cannot be overtaken any more.
 *
 * Pure: no clock, no timer, no I/O. `decide` is to be called after any change. Its cost does not depend on how many
 * lanes and workers there are, only (logarithmically) on how many have something to do.
 */
export class Scheduler<P extends Piece> {
  readonly #options: SchedulerOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #lanesByModel = new Map<string, Set<Lane>>();
  readonly #calm = new Calm();
  readonly #dirty = new Set<Lane>();
  readonly #wakes = new IndexedHeap<Lane>((a, b) => a.wakeAtMs < b.wakeAtMs);
  readonly #devices: Devices<LaneCapacity>;
  readonly #waiting: WaitingRoom<P>;
  readonly #workplaces: Workplaces;

  constructor(options: SchedulerOptions = plainScheduling) {
    this.#options = options;
    this.#devices = new Devices(options.deviceConcurrency, options.resources);
    const changed = (lane: Lane): void => {
      this.#dirty.add(lane);
    };
    this.#waiting = new WaitingRoom<P>(options.callerWeight, changed);
    this.#workplaces = new Workplaces(this.#devices, changed);
  }

  setLane(key: string, rule: LaneRule): void {
    this.#devices.declare(rule.resources);
    const known = this.#lanes.get(key);
    if (known !== undefined) {
      known.rule = rule;
      return;
    }
    const lane = new Lane(key, rule, this.#options.doorMs);
    this.#lanes.set(key, lane);
    const siblings = this.#lanesByModel.get(rule.model);
    if (siblings === undefined) this.#lanesByModel.set(rule.model, new Set([lane]));
    else siblings.add(lane);
  }

  lane(key: string): Lane | undefined {
    return this.#lanes.get(key);
  }

  /** Forgets a lane and returns what still waited in it, oldest first within each shape. */
  removeLane(key: string): P[] {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return [];
    const left = this.#waiting.flush(lane);
    for (const capacity of [...lane.capacities.values()]) this.#workplaces.close(capacity);
    this.#lanes.delete(key);
    const siblings = this.#lanesByModel.get(lane.rule.model);
    siblings?.delete(lane);
    if (siblings?.size === 0) this.#lanesByModel.delete(lane.rule.model);
    this.#dirty.delete(lane);
    this.#wakes.remove(lane);
    this.#calm.forget(lane);
    return left;
  }

  /** Takes everything that waits out of a lane. */
  flush(key: string): P[] {
    const lane = this.#lanes.get(key);
    return lane === undefined ? [] : this.#waiting.flush(lane);
  }

  /** What a worker can take of a version on one of its devices. */
  offer(key: string, offer: Offer, nowMs: number): void {
    const lane = this.#lanes.get(key);
    if (lane !== undefined) this.#workplaces.offer(lane, offer, nowMs);
  }

  /** Devices on which this worker offers the version now. */
  offeredDevices(key: string, workerId: string): string[] {
    return this.#capacitiesOf(key, workerId).map((capacity) => capacity.device);
  }

  /** The worker, or one device of it, takes no more of this version. What it has is still to be `completed`. */
  withdraw(key: string, workerId: string, device?: string): void {
    for (const capacity of this.#capacitiesOf(key, workerId)) {
      if (device === undefined || capacity.device === device) this.#workplaces.close(capacity);
    }
  }

  /** What others have learned about a version, where nothing is known of it yet. */
  seedProfile(key: string, deviceClass: string, points: readonly ProfilePoint[]): void {
    if (points.length > 0) this.#lanes.get(key)?.profiles.ofClass(deviceClass).seed(points);
  }

  queuedRows(key: string): number {
    return this.#lanes.get(key)?.rows ?? 0;
  }

  queuedPieces(key: string): number {
    return this.#lanes.get(key)?.pieces ?? 0;
  }

  /** Requests that wait at one priority level. */
  queuedAtLevel(key: string, level: number): number {
    return this.#lanes.get(key)?.share.levels.find(({ number }) => number === level)?.pieces ?? 0;
  }

  /** May a caller queue so many rows more, where `mostRows` may wait? */
  hasRoom(key: string, level: number, caller: string, rows: number, mostRows: number): boolean {
    const lane = this.#lanes.get(key);
    if (lane === undefined || lane.rows === 0 || lane.rows + rows <= mostRows) return true;
    // One caller's flood must not fill the queue for all: whoever has less than its part of it may still come in.
    const own = lane.share.standing(level, caller, this.#options.callerWeight(caller));
    return own.part < 1 && own.rows + rows <= own.part * mostRows;
  }

  /** Nothing waits in any lane. */
  get idle(): boolean {
    return this.#waiting.isEmpty;
  }

  /** When such a request would be answered in a bad case; undefined while too little is known. */
  predict(key: string, newcomer: Omit<Newcomer, 'weight'>, nowMs: number): number | undefined {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return undefined;
    return predictAnswer(lane, { ...newcomer, weight: this.#options.callerWeight(newcomer.caller) }, nowMs);
  }

  enqueue(key: string, piece: P, nowMs: number): void {
    const lane = this.#lanes.get(key);
    invariant(lane !== undefined, `lane ${key} exists before pieces are put in it`);
    this.#waiting.join(lane, piece, nowMs);
    this.#calm.arrived(lane, nowMs);
  }

  /** Puts pieces that were dispatched in vain back to the front, in their old order, at nobody's cost. */
  requeue(key: string, pieces: readonly P[]): void {
    const lane = this.#lanes.get(key);
    invariant(lane !== undefined, `lane ${key} exists while its pieces are in flight`);
    this.#waiting.returned(lane, pieces);
  }

  /**
   * The instant until which nothing that could happen, short of a worker's early answer, would let a batch leave; at or
   * before `nowMs`: a new request may be served at once.
   */
  calmUntilMs(nowMs: number): number {
    const wakeAtMs = this.#wakes.first?.wakeAtMs ?? Number.POSITIVE_INFINITY;
    return Math.min(this.#calm.untilMs(nowMs), wakeAtMs, this.#waiting.earliestMs);
  }

  /** Takes a waiting piece out. False when it was not waiting (any more). */
  cancel(key: string, piece: P): boolean {
    const lane = this.#lanes.get(key);
    const queue = piece.line === undefined ? undefined : lane?.queues.get(piece.shapeKey);
    if (lane === undefined || queue === undefined) return false;
    this.#waiting.take(lane, queue, piece, false);
    return true;
  }

  /**
   * A batch was executed in `tookMs` of the worker's time, and its callers have their answers; all the rest of the way
   * took `linkMs`. To be followed by `completed`, which gives the room back.
   */
  answered(run: LaneRun, tookMs: number, linkMs: number, nowMs: number): void {
    this.#workplaces.correct(run, tookMs);
    run.capacity.lane.learn(run, tookMs, linkMs, nowMs);
  }

  /** A batch was answered, failed or lost. */
  completed(run: LaneRun, nowMs: number): void {
    this.#workplaces.end(run, nowMs);
  }

  decide(nowMs: number): Decision<P> {
    const { expired, timedOut } = this.#waiting.expire(nowMs);
    for (let lane = this.#wakes.first; lane !== undefined && lane.wakeAtMs <= nowMs; lane = this.#wakes.first) {
      this.#wakes.remove(lane);
      this.#dirty.add(lane);
    }
    const dispatches: Dispatch<P>[] = [];
    const hopeless: P[] = [];
    this.#workplaces.unblock();
    while (this.#dirty.size > 0) {
      const lanes = [...this.#dirty];
      this.#dirty.clear();
      // Whoever has had the least of the devices goes first; it matters where they are limited.
      if (lanes.length > 1) lanes.sort((a, b) => a.deviceTag - b.deviceTag);
      for (const lane of lanes) {
        this.#wakes.remove(lane);
        lane.wakeAtMs = this.#serve(lane, nowMs, dispatches, hopeless);
        if (lane.wakeAtMs !== Number.POSITIVE_INFINITY) this.#wakes.add(lane);
      }
      this.#workplaces.unblock();
    }
    const wakeAtMs = Math.min(this.#waiting.earliestMs, this.#wakes.first?.wakeAtMs ?? Number.POSITIVE_INFINITY);
    return { dispatches, expired, timedOut, hopeless, wakeAtMs };
  }

  /** Makes every batch of this lane that may be made now. Returns when to look again, or Infinity. */
  #serve(lane: Lane, nowMs: number, dispatches: Dispatch<P>[], hopeless: P[]): number {
    while (lane.pieces > 0) {
      const idle = this.#workplaces.idle(lane);
      const best = idle ?? lane.busy.first;
      if (best === undefined || !(best === idle || best.roomBehind)) return Number.POSITIVE_INFINITY;
      const candidate = this.#candidate(lane, idle !== undefined, nowMs);
      const { queue } = candidate;
      if (queue === undefined) return candidate.wakeAtMs;
      if (idle === undefined && best.freeAtMs - lane.leadMs > nowMs) return best.freeAtMs - lane.leadMs;
      const worker = idle === undefined ? best : this.#workplaces.besides(lane, idle, queue.head?.avoidWorker ?? '');
      const startMs = idle === undefined ? Math.max(nowMs, worker.freeAtMs) : nowMs;
      const laterMs = lane.waitForFaster(worker, startMs, queue, candidate.rows, nowMs);
      if (laterMs > nowMs) return Math.min(candidate.wakeAtMs, laterMs);
      // A batch that would be late if what runs now takes a little longer is better made when that is known.
      if (idle === undefined && !lane.canWaitBehind(queue, worker, candidate.rows, startMs))
        return Number.POSITIVE_INFINITY;
      const rows = rowsInTime(lane, queue, worker, candidate.rows, startMs, nowMs, (piece) => {
        this.#waiting.take(lane, queue, piece, false);
        lane.tally.shed++;
        hopeless.push(piece as P);
      });
      if (rows === 0) continue;
      const reason = rows < Math.min(candidate.rows, queue.rows) ? 'deadline' : candidate.reason;
      const pieces = this.#fill(lane, queue, rows, reason);
      const freeSinceMs = idle === undefined ? nowMs : lane.idleSinceMs;
      const taken = pieces.reduce((sum, piece) => sum + piece.rows, 0);
      const run = this.#workplaces.begin(worker, queue.shapeKey, taken, startMs);
      const { workerId, device } = worker;
      dispatches.push({ laneKey: lane.key, workerId, device, pieces, rows: taken, reason, freeSinceMs, run });
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Of the shapes that may leave now, the one whose turn it is. */
  #candidate(lane: Lane, idle: boolean, nowMs: number): Candidate {
    let best: { readonly queue: ShapeQueue; readonly rows: number; readonly reason: CloseReason } | undefined;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (const queue of lane.queues.values()) {
      if (best !== undefined && !queue.isBefore(best.queue)) continue;
      const close = closeRule(lane.rule, queue, idle, nowMs, lane);
      if (close.reason === undefined) wakeAtMs = Math.min(wakeAtMs, close.wakeAtMs);
      else best = { queue, rows: close.rows, reason: close.reason };
    }
    return best === undefined ? { queue: undefined, wakeAtMs } : { ...best, wakeAtMs };
  }

  /** Takes a batch of at most `limit` rows (a single larger piece excepted) out of its queue. */
  #fill(lane: Lane, queue: ShapeQueue, limit: number, reason: CloseReason): P[] {
    const pieces: P[] = [];
    let rows = 0;
    let newest = 0;
    let urgent = Number.POSITIVE_INFINITY;
    for (let head = queue.head; head !== undefined; head = queue.head) {
      const piece = head as P;
      if (pieces.length > 0 && rows + piece.rows > limit) break;
      this.#waiting.take(lane, queue, piece, true);
      pieces.push(piece);
      rows += piece.rows;
      newest = Math.max(newest, piece.sequence);
      urgent = Math.min(urgent, piece.level);
      if (rows >= limit) break;
    }
    lane.closed();
    lane.tally.closed(reason, rows);
    if (lane.rule.batching.priorityLevels > 1) lane.tally.lost.priority += queue.rowsOvertaken(urgent, newest);
    this.#countLostCompany(lane, queue, lane.rule.maxRows - rows);
    return pieces;
  }

  /** Who could have come along in the room that was left, if it were not for its shape or its version. */
  #countLostCompany(lane: Lane, queue: ShapeQueue, room: number): void {
    if (room <= 0) return;
    const { lost } = lane.tally;
    lost.shape += Math.min(room, lane.pieces - queue.pieces);
    const siblings = this.#lanesByModel.get(lane.rule.model);
    if (siblings === undefined || siblings.size === 1) return;
    for (const sibling of siblings) {
      if (sibling === lane || sibling.pieces === 0) continue;
      lost.version += Math.min(room, sibling.queues.get(queue.shapeKey)?.pieces ?? 0);
    }
  }

  #capacitiesOf(key: string, workerId: string): LaneCapacity[] {
    const capacities = [...(this.#lanes.get(key)?.capacities.values() ?? [])];
    return capacities.filter((capacity) => capacity.workerId === workerId);
  }
}
