import { type HeapItem, IndexedHeap } from '../../core/indexed-heap.js';
import type { LatencyProfile } from '../../core/latency-profile.js';
import { executedRows } from '../../core/model.js';
import { finishesFirst } from '../../loadbalancer/finishes-first.js';
import { waitForFaster } from '../../loadbalancer/wait-for-faster.js';
import { ArrivalRate } from './arrival-rate.js';
import type { Capacity, Run } from './capacity.js';
import type { Prospects } from './close-rule.js';
import { CompanyForecast } from './company-forecast.js';
import { FairShare } from './fair-share.js';
import { LaneProfiles } from './lane-profiles.js';
import type { LaneRule } from './lane-rule.js';
import { ShapeQueue } from './shape-queue.js';
import { Tally } from './tally.js';

/** Weight of the newest observation of what a batch takes besides its execution. */
const newestLink = 0.1;
/** A worker this much slower than the profile does not teach it. */
const slowWorker = 1.5;
/** A profile nobody has tested for this long, or this many executions, may be wrong: somebody has to try. */
const staleMs = 200;
const staleExecutions = 10;
/** Of the busy workers so many are looked at, those that will be free first. */
const lookedAt = 4;
/** So long after a refusal there still is more work than time. */
const pressedMs = 100;
/** Timers are late by up to this much. */
const timerMs = 1;

export type LaneCapacity = Capacity<Lane>;
export type LaneRun = Run<Lane>;

/** One model version as the scheduler sees it: who waits, who can serve, and what was learned about it. */
export class Lane implements HeapItem, Prospects {
  readonly key: string;
  readonly share = new FairShare();
  readonly queues = new Map<string, ShapeQueue>();
  readonly capacities = new Map<string, LaneCapacity>();
  readonly idle = new IndexedHeap<LaneCapacity>(finishesFirst);
  /** Those without a free instance, by when they will have one. */
  readonly busy = new IndexedHeap<LaneCapacity>((a, b) => a.freeAtMs < b.freeAtMs);
  readonly tally = new Tally();
  readonly profiles = new LaneProfiles();
  readonly #doorMs: () => number;
  readonly #forecast = new CompanyForecast();
  readonly #arrivals = new ArrivalRate();
  #rule: LaneRule;
  rows = 0;
  pieces = 0;
  slots = 0;
  outstanding = 0;
  /** Since when an instance has been free. */
  idleSinceMs = 0;
  /** Virtual device time used up, for a fair turn on devices that versions share. */
  deviceTag = 0;
  /** When it wants to be looked at again though nothing happens; `heapIndex` is its place among all that do. */
  wakeAtMs = Number.POSITIVE_INFINITY;
  heapIndex = -1;
  /** From sending a batch to its result, less the worker's own time, milliseconds. */
  #linkMs = 0;
  #fixedMs = 0;
  #lastLearnedMs = Number.NEGATIVE_INFINITY;
  #lastRefusedMs = Number.NEGATIVE_INFINITY;

  /** `doorMs`: what of a caller's time passes outside our doors. */
  constructor(key: string, rule: LaneRule, doorMs: () => number) {
    this.key = key;
    this.#doorMs = doorMs;
    this.#rule = rule;
    this.share.strict = rule.batching.priorityMode === 'strict';
  }

  get rule(): LaneRule {
    return this.#rule;
  }

  set rule(rule: LaneRule) {
    this.#rule = rule;
    this.share.strict = rule.batching.priorityMode === 'strict';
  }

  get linkMs(): number {
    return this.#linkMs;
  }

  /** From the end of an execution to the answer at its caller. */
  get returnMs(): number {
    return this.#linkMs + this.#doorMs();
  }

  /** How long before an instance is free the next batch has to leave to be there in time. */
  get leadMs(): number {
    return this.#linkMs + timerMs;
  }

  /** Rows that arrive in a millisecond. */
  get rowsPerMs(): number {
    return this.#arrivals.perMs;
  }

  queue(shapeKey: string): ShapeQueue {
    let queue = this.queues.get(shapeKey);
    if (queue === undefined) {
      queue = new ShapeQueue(shapeKey, this.share);
      this.queues.set(shapeKey, queue);
    }
    return queue;
  }

  /** Usual time of one execution there, milliseconds; 0 while unknown. */
  expectMs({ deviceClass, speed }: LaneCapacity, shapeKey: string, rows: number): number {
    const profile = this.profiles.of(deviceClass, shapeKey);
    return profile.typicalMs(known(profile, executedRows(this.#rule.batching, rows))) * speed;
  }

  /** What it seldom takes more than: for promises, where `expectMs` is for plans. */
  cautiousMs({ deviceClass, speed }: LaneCapacity, shapeKey: string, rows: number): number {
    const profile = this.profiles.of(deviceClass, shapeKey);
    return profile.highMs(known(profile, executedRows(this.#rule.batching, rows))) * speed;
  }

  /** The most rows of a batch that hardly ever takes longer than `ms` there; at least 1. */
  rowsWithin(capacity: LaneCapacity, shapeKey: string, ms: number): number {
    let low = 1;
    let high = Math.max(1, this.#rule.maxRows) + 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.cautiousMs(capacity, shapeKey, middle) <= ms) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Who would probably take the next batch. */
  get likely(): LaneCapacity | undefined {
    return this.idle.first ?? this.busy.first;
  }

  arrived(rows: number, nowMs: number): void {
    this.#forecast.arrived(rows, nowMs);
    this.#arrivals.arrived(rows, nowMs);
  }

  closed(): void {
    this.#arrivals.closed();
  }

  /** A batch of `rows` was answered: the worker took `tookMs` over it, everything between us and it `linkMs`. */
  learn({ capacity, shapeKey, rows }: LaneRun, tookMs: number, linkMs: number, nowMs: number): void {
    const { deviceClass } = capacity;
    const executed = executedRows(this.#rule.batching, rows);
    const profile = this.profiles.of(deviceClass, shapeKey);
    // Alone, a worker is the profile. Among others, one that is much slower must not make the rest look slow.
    if (this.capacities.size > 1) capacity.learnSpeed(profile.typicalMs(executed), tookMs);
    else capacity.speed = 1;
    if (capacity.speed <= slowWorker || profile.knownRows === 0) {
      this.profiles.observe(deviceClass, shapeKey, executed, tookMs);
    }
    this.#linkMs += newestLink * (linkMs - this.#linkMs);
    this.#lastLearnedMs = nowMs;
    this.#fixedMs = this.#fixedCostMs(profile, capacity);
    this.#forecast.completed(rows, this.#fixedMs, nowMs);
  }

  /**
   * `worker` could take a batch of `rows` at `startMs`: until when it is better to wait for a faster one that is busy;
   * `nowMs` when it is not.
   */
  waitForFaster(worker: LaneCapacity, startMs: number, queue: ShapeQueue, rows: number, nowMs: number): number {
    if (this.capacities.size < 2 || this.busy.size === 0) return nowMs;
    const { shapeKey } = queue;
    const { maxRows } = this.#rule;
    const batches = maxRows === 0 ? this.pieces : Math.ceil(this.rows / maxRows);
    const others: { speed: number; freeAtMs: number; batchMs: number }[] = [];
    for (let i = 0; i < Math.min(lookedAt, this.busy.size); i++) {
      const other = this.busy.at(i);
      if (other === undefined || other === worker) continue;
      others.push({ speed: other.speed, freeAtMs: other.freeAtMs, batchMs: this.expectMs(other, shapeKey, rows) });
    }
    const slow = { speed: worker.speed, doneMs: startMs + this.expectMs(worker, shapeKey, rows) };
    return waitForFaster(slow, others, batches, queue.deadlineMs - this.returnMs, nowMs);
  }

  /** Would a batch bound behind one that runs be in time even if that one takes as long as it hardly ever does? */
  canWaitBehind({ deadlineMs, shapeKey }: ShapeQueue, worker: LaneCapacity, rows: number, startMs: number): boolean {
    if (deadlineMs === Number.POSITIVE_INFINITY) return true;
    const cautiousMs = this.cautiousMs(worker, shapeKey, rows);
    const overrunMs = cautiousMs - this.expectMs(worker, shapeKey, rows);
    return startMs + overrunMs + cautiousMs + this.returnMs <= deadlineMs;
  }

  /**
   * Nothing runs and nothing has run for a while: what is believed of this version may be out of date, and somebody has
   * to be the first to try. A device that idles loses nothing by it.
   */
  isStale(nowMs: number): boolean {
    if (this.outstanding > 0) return false;
    const { likely } = this;
    const limitMs = Math.max(staleMs, staleExecutions * (likely === undefined ? 0 : this.expectMs(likely, '', 1)));
    return nowMs - this.#lastLearnedMs > limitMs;
  }

  /** A request was turned away because its deadline could not be met. */
  refused(nowMs: number): void {
    this.tally.refused++;
    this.#lastRefusedMs = nowMs;
  }

  /** More is asked of this version than it can do: some were turned away just now. */
  isPressed(nowMs: number): boolean {
    return nowMs - this.#lastRefusedMs < pressedMs;
  }

  answerMs(shapeKey: string, rows: number): number {
    const capacity = this.likely;
    if (capacity === undefined) return 0;
    const executeMs = this.cautiousMs(capacity, shapeKey, Math.min(rows, Math.max(1, this.#rule.maxRows)));
    return executeMs === 0 ? 0 : executeMs + this.returnMs + timerMs;
  }

  holdUntil(shapeKey: string, rows: number, nowMs: number): number {
    const capacity = this.idle.first;
    // With another shape waiting too, or another instance free, there is something better to do than to wait.
    if (capacity === undefined || this.queues.size > 1 || this.idle.size > 1) return nowMs;
    if (capacity.slots - capacity.outstanding > 1) return nowMs;
    const executeMs = (count: number): number => this.expectMs(capacity, shapeKey, count);
    if (executeMs(1) === 0) return nowMs;
    const expected = this.#forecast.expect(nowMs);
    if (expected.rows > 0) {
      const joined = Math.min(this.#rule.maxRows, rows + expected.rows);
      const savedMs = executeMs(rows) + executeMs(joined - rows) - executeMs(joined) + this.#linkMs;
      if (expected.returnMs < savedMs) return expected.untilMs;
    }
    return this.#arrivals.waitUntil(rows, this.#fixedMs, executeMs(rows + 1) - executeMs(rows), nowMs);
  }

  /** What one execution costs besides its rows: two halves take that much longer than the whole. */
  #fixedCostMs(profile: LatencyProfile, capacity: LaneCapacity): number {
    const rows = Math.max(2, Math.min(profile.knownRows, this.#rule.maxRows));
    const halvesMs = 2 * profile.typicalMs(rows / 2) * capacity.speed;
    const leastMs = profile.typicalMs(1) * capacity.speed;
    return Math.min(leastMs, Math.max(0, halvesMs - profile.typicalMs(rows) * capacity.speed)) + this.#linkMs;
  }
}

/**
 * More rows than were ever executed are thought to take as long as the most that were, until they have been tried: a
 * line drawn on from two small noisy measurements could forbid for ever what was never measured.
 */
const known = (profile: LatencyProfile, rows: number): number => Math.min(rows, profile.knownRows);
