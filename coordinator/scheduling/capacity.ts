import type { HeapItem } from '../../core/indexed-heap.js';
import type { Resource } from '../../core/model.js';
import type { SharedDevice } from './devices.js';

/** One batch on its way. */
export interface Run<L> {
  readonly capacity: Capacity<L>;
  readonly shapeKey: string;
  readonly rows: number;
  /** When it is thought to begin, and to be done. */
  startMs: number;
  finishMs: number;
  /** What it occupies once it executes, though its version's rule may have changed since. */
  readonly resources: readonly Resource[];
  /** False while it waits behind another and occupies nothing yet. */
  executes: boolean;
}

/** How quickly a worker's own speed follows what it does. */
const speedMemory = 0.8;
/** A batch that took this many times longer or shorter than it should counts as that many, so that a stall is not a speed. */
const mostSurprise = 4;

/**
 * What one version (its lane, `L`) has on one device of one worker: instances (`slots`), and batches that may queue
 * behind each.
 */
export class Capacity<L> implements HeapItem {
  readonly lane: L;
  readonly workerId: string;
  readonly device: string;
  readonly deviceClass: string;
  readonly shared: SharedDevice<Capacity<L>>;
  slots = 0;
  depth = 0;
  /** No more batches: the worker was lost or drains. */
  closed = false;
  /** In the order in which they should be done. */
  readonly runs: Run<L>[] = [];
  /** How much longer batches take here than the version's profile says; 1: as long. */
  speed = 1;
  observed = 0;
  /** Grows with every batch sent, so that equals take turns. */
  lastUsed = 0;
  /** Its version's device time when it was found blocked. */
  blockedTag = 0;
  heapIndex = -1;
  /** Which of the lane's or the device's heaps it is in. */
  place: 'none' | 'idle' | 'busy' | 'blocked' = 'none';

  constructor(lane: L, workerId: string, device: string, deviceClass: string, shared: SharedDevice<Capacity<L>>) {
    this.lane = lane;
    this.workerId = workerId;
    this.device = device;
    this.deviceClass = deviceClass;
    this.shared = shared;
  }

  get outstanding(): number {
    return this.runs.length;
  }

  get idle(): boolean {
    return !this.closed && this.runs.length < this.slots;
  }

  /**
   * May one more batch wait behind those that run? Not while another version waits for the device: it would be kept
   * from it for as long as there is always one batch more on its way.
   */
  get roomBehind(): boolean {
    if (this.closed || this.shared.blocked.size > 0) return false;
    return this.runs.length < this.slots * (1 + this.depth);
  }

  /** When an instance will be free for one more batch; in the past for an idle one. */
  get freeAtMs(): number {
    return this.runs[this.runs.length - this.slots]?.finishMs ?? 0;
  }

  /** Of those that wait behind others the one to execute next, if there is an instance for it. */
  get nextToExecute(): Run<L> | undefined {
    const executing = this.runs.reduce((sum, run) => sum + (run.executes ? 1 : 0), 0);
    // What was sent before it was closed is still executed.
    return executing < Math.max(1, this.slots) ? this.runs.find((run) => !run.executes) : undefined;
  }

  /** What waited behind another begins now, sooner or later than was thought, and what is behind it accordingly. */
  begins(run: Run<L>, nowMs: number): void {
    const free: number[] = [];
    move(run, nowMs);
    for (const other of this.runs) if (other.executes) free.push(other.finishMs);
    for (const other of this.runs) {
      if (other.executes) continue;
      free.sort((a, b) => a - b);
      move(other, Math.max(nowMs, free.shift() ?? nowMs));
      free.push(other.finishMs);
    }
    this.runs.sort((a, b) => a.finishMs - b.finishMs);
  }

  add(run: Run<L>): void {
    let at = this.runs.length;
    while (at > 0 && (this.runs[at - 1] as Run<L>).finishMs > run.finishMs) at--;
    this.runs.splice(at, 0, run);
  }

  remove(run: Run<L>): void {
    const at = this.runs.indexOf(run);
    if (at >= 0) this.runs.splice(at, 1);
  }

  /** A batch that the profile puts at `expectedMs` took `tookMs` here. */
  learnSpeed(expectedMs: number, tookMs: number): void {
    if (expectedMs <= 0) return;
    const ratio = tookMs / expectedMs / this.speed;
    const surprise = Math.min(mostSurprise, Math.max(1 / mostSurprise, ratio));
    // The first few count fully: a slow worker is to be known soon.
    const memory = Math.min(speedMemory, this.observed / (this.observed + 1));
    this.speed *= surprise ** (1 - memory);
    this.observed++;
  }
}

function move<L>(run: Run<L>, startMs: number): void {
  run.finishMs = startMs + (run.finishMs - run.startMs);
  run.startMs = startMs;
}
