import { type HeapItem, IndexedHeap } from '../../core/indexed-heap.js';
import type { Resource } from '../../core/model.js';

/** What waits for a device. */
export interface Blockable extends HeapItem {
  /** Device time its version had used up when it was found blocked. */
  blockedTag: number;
}

/** One device of one worker, shared by every version that has an instance there. */
export class SharedDevice<C extends Blockable> {
  /** Versions that have an instance on it, or had one and still run. */
  holders = 0;
  /** Batches that run on it now. */
  running = 0;
  readonly used = new Map<string, number>();
  /** Versions that had work for it and found it taken, the one with the least device time first. */
  readonly blocked = new IndexedHeap<C>((a, b) => a.blockedTag < b.blockedTag);
}

/**
 * What batches of different versions must not have too much of at the same time: executions on a device
 * (`maxRunning`), and Triton's rate-limiter resources. Without a configured amount there is as much of a resource as
 * the greediest version asks for, as in Triton, so that each version alone can always run.
 */
export class Devices<C extends Blockable> {
  readonly #devices = new Map<string, SharedDevice<C>>();
  readonly #maxRunning: number;
  readonly #amounts: Map<string, number>;
  readonly #configured: ReadonlySet<string>;
  readonly #globalUsed = new Map<string, number>();

  /** `maxRunning` 0: no limit. */
  constructor(maxRunning: number, amounts: Readonly<Record<string, number>>) {
    this.#maxRunning = maxRunning;
    this.#amounts = new Map(Object.entries(amounts));
    this.#configured = new Set(this.#amounts.keys());
  }

  /** For one more version; to be given back by `leave`. */
  join(workerId: string, device: string): SharedDevice<C> {
    const key = `${workerId}|${device}`;
    let shared = this.#devices.get(key);
    if (shared === undefined) {
      shared = new SharedDevice<C>();
      this.#devices.set(key, shared);
    }
    shared.holders++;
    return shared;
  }

  /** A version will not run there any more; the last one takes the device along. */
  leave(workerId: string, device: string): void {
    const key = `${workerId}|${device}`;
    const shared = this.#devices.get(key);
    if (shared !== undefined && --shared.holders === 0) this.#devices.delete(key);
  }

  declare(resources: readonly Resource[]): void {
    for (const { name, count } of resources) {
      if (!this.#configured.has(name)) this.#amounts.set(name, Math.max(count, this.#amounts.get(name) ?? 0));
    }
  }

  /** Is there room on this device for one more batch that occupies `resources`? */
  fits(device: SharedDevice<C>, resources: readonly Resource[]): boolean {
    if (this.#maxRunning > 0 && device.running >= this.#maxRunning) return false;
    for (const { name, count, global } of resources) {
      const used = (global ? this.#globalUsed : device.used).get(name) ?? 0;
      // What asks for more than there is runs alone rather than never.
      if (used > 0 && used + count > (this.#amounts.get(name) ?? 0)) return false;
    }
    return true;
  }

  take(device: SharedDevice<C>, resources: readonly Resource[]): void {
    device.running++;
    this.#add(device, resources, 1);
  }

  /** The devices on which something may fit now that did not before. */
  release(device: SharedDevice<C>, resources: readonly Resource[]): Iterable<SharedDevice<C>> {
    device.running--;
    this.#add(device, resources, -1);
    return resources.some((resource) => resource.global) ? this.#devices.values() : [device];
  }

  #add(device: SharedDevice<C>, resources: readonly Resource[], sign: number): void {
    for (const { name, count, global } of resources) {
      const used = global ? this.#globalUsed : device.used;
      used.set(name, (used.get(name) ?? 0) + sign * count);
    }
  }
}
