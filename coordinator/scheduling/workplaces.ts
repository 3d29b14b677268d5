import { invariant } from '../../core/errors.js';
import { Capacity } from './capacity.js';
import type { Devices, SharedDevice } from './devices.js';
import type { Lane, LaneCapacity, LaneRun } from './lane.js';

/** What one worker offers of one version on one of its devices. */
export interface Offer {
  readonly workerId: string;
  readonly device: string;
  readonly deviceClass: string;
  /** Batches at a time. */
  readonly slots: number;
  /** Full batches that may wait behind each. */
  readonly depth: number;
}

/**
 * Where batches can run, in all lanes: keeps every capacity in the right one of its heaps (idle, busy, or blocked by
 * what other versions run on its device), and counts what runs on each device.
 */
export class Workplaces {
  readonly #devices: Devices<LaneCapacity>;
  readonly #changed: (lane: Lane) => void;
  readonly #freed = new Set<SharedDevice<LaneCapacity>>();
  /** Device time of the version that ran last: where one begins that has had none for a while. */
  #deviceTag = 0;
  #uses = 0;

  /** `changed` is told of every lane that may have more room than before. */
  constructor(devices: Devices<LaneCapacity>, changed: (lane: Lane) => void) {
    this.#devices = devices;
    this.#changed = changed;
  }

  offer(lane: Lane, { workerId, device, deviceClass, slots, depth }: Offer, nowMs: number): void {
    const id = `${workerId}|${device}`;
    let capacity = lane.capacities.get(id);
    if (capacity === undefined) {
      capacity = new Capacity(lane, workerId, device, deviceClass, this.#devices.join(workerId, device));
      lane.capacities.set(id, capacity);
    }
    lane.slots += slots - capacity.slots;
    this.#lift(capacity);
    capacity.slots = slots;
    capacity.depth = depth;
    this.#execute(capacity);
    this.#place(capacity, nowMs);
    this.#changed(lane);
  }

  /** No more batches; what runs there is still to be `completed`. */
  close(capacity: LaneCapacity): void {
    const { lane } = capacity;
    this.#lift(capacity);
    capacity.closed = true;
    lane.slots -= capacity.slots;
    capacity.slots = 0;
    lane.capacities.delete(`${capacity.workerId}|${capacity.device}`);
    if (capacity.runs.length === 0) this.#devices.leave(capacity.workerId, capacity.device);
  }

  /** The best idle one that has room on its device; the others of that device are set aside until it has. */
  idle(lane: Lane): LaneCapacity | undefined {
    for (let first = lane.idle.first; first !== undefined; first = lane.idle.first) {
      if (this.#devices.fits(first.shared, lane.rule.resources) && !overtakes(first)) return first;
      lane.idle.remove(first);
      first.blockedTag = lane.deviceTag;
      first.place = 'blocked';
      first.shared.blocked.add(first);
    }
    return undefined;
  }

  /** `idle`, or another idle one where that is on the worker to avoid. */
  besides(lane: Lane, idle: LaneCapacity, avoid: string): LaneCapacity {
    if (avoid === '' || idle.workerId !== avoid) return idle;
    for (let i = 1; i < lane.idle.size; i++) {
      const other = lane.idle.at(i);
      if (other === undefined || other.workerId === avoid) continue;
      if (this.#devices.fits(other.shared, lane.rule.resources)) return other;
    }
    return idle;
  }

  /** A batch of `rows` is on its way to where it will start at `startMs`. */
  begin(capacity: LaneCapacity, shapeKey: string, rows: number, startMs: number): LaneRun {
    const { lane } = capacity;
    const finishMs = startMs + lane.expectMs(capacity, shapeKey, rows) + lane.linkMs;
    const { resources } = lane.rule;
    const run: LaneRun = { capacity, shapeKey, rows, startMs, finishMs, resources, executes: false };
    this.#lift(capacity);
    capacity.add(run);
    capacity.lastUsed = ++this.#uses;
    lane.outstanding++;
    this.#execute(capacity);
    lane.deviceTag = Math.max(lane.deviceTag, this.#deviceTag);
    this.#deviceTag = lane.deviceTag;
    lane.deviceTag += (finishMs - startMs) / lane.rule.deviceWeight;
    this.#place(capacity, Number.NaN);
    return run;
  }

  /** The device time of a batch was guessed when it began; now it is known. */
  correct(run: LaneRun, tookMs: number): void {
    const { lane } = run.capacity;
    lane.deviceTag += (tookMs - (run.finishMs - run.startMs)) / lane.rule.deviceWeight;
  }

  end(run: LaneRun, nowMs: number): void {
    const { capacity } = run;
    const { lane } = capacity;
    this.#lift(capacity);
    capacity.remove(run);
    lane.outstanding--;
    invariant(lane.outstanding >= 0, `no more batches of ${lane.key} return than were sent`);
    const next = capacity.nextToExecute;
    if (next !== undefined) {
      this.#execute(capacity);
      capacity.begins(next, nowMs);
    }
    if (run.executes) this.#release(run);
    if (capacity.closed && capacity.runs.length === 0) this.#devices.leave(capacity.workerId, capacity.device);
    this.#place(capacity, nowMs);
    this.#changed(lane);
  }

  /** One version gets its turn on each device that has room again: the one that has had the least of it. */
  unblock(): void {
    for (const device of this.#freed) {
      const next = device.blocked.first;
      if (next === undefined || !this.#devices.fits(device, next.lane.rule.resources)) {
        this.#freed.delete(device);
        continue;
      }
      this.#lift(next);
      this.#place(next, Number.NaN);
      this.#changed(next.lane);
    }
  }

  /** The worker does not ask before it goes on to what waits behind a batch that is done: only then it counts. */
  #execute(capacity: LaneCapacity): void {
    for (let next = capacity.nextToExecute; next !== undefined; next = capacity.nextToExecute) {
      next.executes = true;
      this.#devices.take(capacity.shared, next.resources);
    }
  }

  #release({ capacity, resources }: LaneRun): void {
    for (const device of this.#devices.release(capacity.shared, resources)) {
      if (device.blocked.size > 0) this.#freed.add(device);
    }
  }

  /** Out of its heap, before anything about it changes. */
  #lift(capacity: LaneCapacity): void {
    const { place, lane } = capacity;
    if (place === 'idle') lane.idle.remove(capacity);
    else if (place === 'busy') lane.busy.remove(capacity);
    else if (place === 'blocked') capacity.shared.blocked.remove(capacity);
    capacity.place = 'none';
  }

  /** Back into the heap where it belongs now. `nowMs` NaN: nothing has become free by this. */
  #place(capacity: LaneCapacity, nowMs: number): void {
    const { lane } = capacity;
    if (capacity.closed || capacity.slots === 0) return;
    if (!capacity.idle) {
      capacity.place = 'busy';
      lane.busy.add(capacity);
      return;
    }
    if (lane.idle.size === 0 && !Number.isNaN(nowMs)) lane.idleSinceMs = nowMs;
    capacity.place = 'idle';
    lane.idle.add(capacity);
  }
}

/**
 * Does a version with less device time wait for this device, for which there is no room yet? What fits beside those
 * that run would keep it from ever getting it.
 */
function overtakes({ lane, shared }: LaneCapacity): boolean {
  const next = shared.blocked.first;
  return next !== undefined && next.lane !== lane && next.lane.pieces > 0 && next.blockedTag < lane.deviceTag;
}
