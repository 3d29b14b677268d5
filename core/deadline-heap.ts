import { type HeapItem, IndexedHeap } from './indexed-heap.js';

/** What a `DeadlineHeap` keeps. `expiresMs` must not change while the item is in it. */
export interface Expiring extends HeapItem {
  readonly expiresMs: number;
}

/** Deadlines, the earliest first. An answered request leaves at once instead of lying there until its deadline passes. */
export class DeadlineHeap<T extends Expiring> {
  readonly #heap = new IndexedHeap<T>((a, b) => a.expiresMs < b.expiresMs);

  get size(): number {
    return this.#heap.size;
  }

  /** The entry that expires first. */
  get first(): T | undefined {
    return this.#heap.first;
  }

  /** All entries, in no particular order. */
  items(): T[] {
    return this.#heap.items();
  }

  /** The earliest deadline, or Infinity when empty. */
  get earliestMs(): number {
    return this.#heap.first?.expiresMs ?? Number.POSITIVE_INFINITY;
  }

  /** Entries without a deadline (Infinity) are not kept. */
  add(item: T): void {
    if (item.expiresMs !== Number.POSITIVE_INFINITY) this.#heap.add(item);
  }

  remove(item: T): void {
    this.#heap.remove(item);
  }

  /** Takes out the earliest entry if its deadline is at or before `nowMs`. */
  popExpired(nowMs: number): T | undefined {
    const first = this.#heap.first;
    if (first === undefined || first.expiresMs > nowMs) return undefined;
    this.#heap.remove(first);
    return first;
  }
}
