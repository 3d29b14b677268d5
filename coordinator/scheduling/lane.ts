import { type HeapItem, IndexedHeap } from '../../core/indexed-heap.js';
import { LatencyProfile } from '../../core/latency-profile.js';
import { executedRows } from '../../core/model.js';
import { finishesFirst } from '../../loadbalancer/finishes-first.js';
import { waitForFaster } from '../../loadbalancer/wait-for-faster.js';
import { ArrivalRate } from './arrival-rate.js';
import type { Capacity, Run } from './capacity.js';
import type { Prospects } from './close-rule.js';
import { CompanyForecast } from './company-forecast.js';
import { FairShare } from './fair-share.js';
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
  readonly #profiles = new Map<string, LatencyProfile>();
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

  constructor(key: string, rule: LaneRule) {
    this.key = key;
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

  profile(deviceClass: string): LatencyProfile {
    let profile = this.#profiles.get(deviceClass);
    if (profile === undefined) {
      profile = new LatencyProfile();
      this.#profiles.set(deviceClass, profile);
    }
    return profile;
  }

  profiles(): ReadonlyMap<string, LatencyProfile> {
    return this.#profiles;
  }

  /** Usual time of one execution there, milliseconds; 0 while unknown. */
  expectMs(capacity: LaneCapacity, rows: number): number {
    return this.profile(capacity.deviceClass).typicalMs(executedRows(this.#rule.batching, rows)) * capacity.speed;
  }

  /** A bad case of it, rather than the usual one. */
  cautiousMs(capacity: LaneCapacity, rows: number): number {
    return this.profile(capacity.deviceClass).highMs(executedRows(this.#rule.batching, rows)) * capacity.speed;
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
  learn(capacity: LaneCapacity, rows: number, tookMs: number, linkMs: number, nowMs: number): void {
    const executed = executedRows(this.#rule.batching, rows);
    const profile = this.profile(capacity.deviceClass);
    // Alone, a worker is the profile. Among others, one that is much slower must not make the rest look slow.
    if (this.capacities.size > 1) capacity.learnSpeed(profile.typicalMs(executed), tookMs);
    else capacity.speed = 1;
    if (capacity.speed <= slowWorker || profile.knownRows === 0) profile.observe(executed, tookMs);
    this.#linkMs += newestLink * (linkMs - this.#linkMs);
    this.#lastLearnedMs = nowMs;
    this.#fixedMs = this.#fixedCostMs(profile, capacity);
    this.#forecast.completed(rows, this.#fixedMs, nowMs);
  }

  /**
   * `worker` could take a batch of `rows` at `startMs`: until when it is better to wait for a faster one that is busy;
   * `nowMs` when it is not. `deadlineMs`: the earliest in the queue.
   */
  waitForFaster(worker: LaneCapacity, startMs: number, rows: number, deadlineMs: number, nowMs: number): number {
    if (this.capacities.size < 2 || this.busy.size === 0) return nowMs;
    const { maxRows } = this.#rule;
    const batches = maxRows === 0 ? this.pieces : Math.ceil(this.rows / maxRows);
    const others: { speed: number; freeAtMs: number; batchMs: number }[] = [];
    for (let i = 0; i < Math.min(lookedAt, this.busy.size); i++) {
      const other = this.busy.at(i);
      if (other === undefined || other === worker) continue;
      others.push({ speed: other.speed, freeAtMs: other.freeAtMs, batchMs: this.expectMs(other, rows) });
    }
    const slow = { speed: worker.speed, doneMs: startMs + this.expectMs(worker, rows) };
    return waitForFaster(slow, others, batches, deadlineMs, nowMs);
  }

  /** Nothing runs and nothing has run for a while: what is believed of this version may be out of date. */
  isStale(nowMs: number): boolean {
    if (this.outstanding > 0) return false;
    const { likely } = this;
    const limitMs = Math.max(staleMs, staleExecutions * (likely === undefined ? 0 : this.expectMs(likely, 1)));
    return nowMs - this.#lastLearnedMs > limitMs;
  }

  answerMs(rows: number): number {
    const capacity = this.likely;
    if (capacity === undefined) return 0;
    const executeMs = this.cautiousMs(capacity, Math.min(rows, Math.max(1, this.#rule.maxRows)));
    return executeMs === 0 ? 0 : executeMs + this.#linkMs + timerMs;
  }

  holdUntil(rows: number, nowMs: number): number {
    const capacity = this.idle.first;
    // With another shape waiting too, or another instance free, there is something better to do than to wait.
    if (capacity === undefined || this.queues.size > 1 || this.idle.size > 1) return nowMs;
    if (capacity.slots - capacity.outstanding > 1) return nowMs;
    const profile = this.profile(capacity.deviceClass);
    if (profile.knownRows === 0) return nowMs;
    const expected = this.#forecast.expect(nowMs);
    if (expected.rows > 0) {
      const joined = Math.min(this.#rule.maxRows, rows + expected.rows);
      const apartMs = this.expectMs(capacity, rows) + this.expectMs(capacity, joined - rows);
      const savedMs = apartMs - this.expectMs(capacity, joined) + this.#linkMs;
      if (expected.returnMs < savedMs) return expected.untilMs;
    }
    const perRowMs = this.expectMs(capacity, rows + 1) - this.expectMs(capacity, rows);
    return this.#arrivals.waitUntil(rows, this.#fixedMs, perRowMs, nowMs);
  }

  /** What one execution costs besides its rows: two halves take that much longer than the whole. */
  #fixedCostMs(profile: LatencyProfile, capacity: LaneCapacity): number {
    const rows = Math.max(2, Math.min(profile.knownRows, this.#rule.maxRows));
    const halvesMs = 2 * profile.typicalMs(rows / 2) * capacity.speed;
    const leastMs = profile.typicalMs(1) * capacity.speed;
    return Math.min(leastMs, Math.max(0, halvesMs - profile.typicalMs(rows) * capacity.speed)) + this.#linkMs;
  }
}
