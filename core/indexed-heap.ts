/** `heapIndex` belongs to the heap an item is in (-1: in none); an item can be in one heap at a time. */
export interface HeapItem {
  heapIndex: number;
}

/** A binary heap whose items know their own place, so that one can leave or move in O(log n) without a search. */
export class IndexedHeap<T extends HeapItem> {
  readonly #before: (a: T, b: T) => boolean;
  readonly #items: T[] = [];

  /** `before(a, b)`: must `a` come out before `b`? Items whose order changes while they are in are to be told: `moved`. */
  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  /** In the heap's own order: the first is first, the others are near their place. */
  at(index: number): T | undefined {
    return this.#items[index];
  }

  /** All of them, in no order that one could rely on. */
  items(): T[] {
    return [...this.#items];
  }

  add(item: T): void {
    this.#items.push(item);
    this.#up(this.#items.length - 1, item);
  }

  /** No effect on an item that is in no heap. */
  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#up(index, last);
    this.#down(last.heapIndex, last);
  }

  /** The item's order has changed. */
  moved(item: T): void {
    this.#up(item.heapIndex, item);
    this.#down(item.heapIndex, item);
  }

  #up(from: number, item: T): void {
    let index = from;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = this.#items[above] as T;
      if (!this.#before(item, parent)) break;
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
      if (right !== undefined && this.#before(right, child)) {
        below++;
        child = right;
      }
      if (!this.#before(child, item)) break;
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
