/** What a `DeadlineHeap` keeps; `heapIndex` belongs to the heap (-1: not in it). */
export interface Expiring {
  readonly deadlineMs: number;
  heapIndex: number;
}

/**
 * A binary heap of deadlines whose entries know their own place, so that an answered request leaves it
 * at once (O(log n)) instead of lying there until its deadline passes.
 */
export class DeadlineHeap<T extends Expiring> {
  #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** The earliest deadline, or Infinity when empty. */
  get earliestMs(): number {
    return this.#items[0]?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  /** Entries without a deadline (Infinity) are not kept. */
  add(item: T): void {
    if (item.deadlineMs === Number.POSITIVE_INFINITY) return;
    this.#items.push(item);
    this.#up(this.#items.length - 1, item);
  }

  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#up(index, last);
    this.#down(last.heapIndex, last);
  }

  /** Takes out the earliest entry if its deadline is at or before `nowMs`. */
  popExpired(nowMs: number): T | undefined {
    const first = this.#items[0];
    if (first === undefined || first.deadlineMs > nowMs) return undefined;
    this.remove(first);
    return first;
  }

  #up(from: number, item: T): void {
    let index = from;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = this.#items[above] as T;
      if (parent.deadlineMs <= item.deadlineMs) break;
      this.#place(index, parent);
      index = above;
    }
    this.#place(index, item);
  }

  #down(from: number, item: T): void {
    let index = from;
    for (;;) {
      let below = 2 * index + 1;
      let child = this.#items[below];
      if (child === undefined) break;
      const right = this.#items[below + 1];
      if (right !== undefined && right.deadlineMs < child.deadlineMs) {
        below++;
        child = right;
      }
      if (child.deadlineMs >= item.deadlineMs) break;
      this.#place(index, child);
      index = below;
    }
    this.#place(index, item);
  }

  #place(index: number, item: T): void {
    this.#items[index] = item;
    item.heapIndex = index;
  }
}
