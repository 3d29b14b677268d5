import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type HeapItem, IndexedHeap } from '../../../core/indexed-heap.js';

class Entry implements HeapItem {
  heapIndex = -1;
  key: number;
  constructor(key: number) {
    this.key = key;
  }
}

const key = fc.integer({ min: 0, max: 20 });
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('move' as const), pick: fc.nat(), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pop' as const) }) },
);

describe('indexed heap', () => {
  it('always has the least in front, whatever is added, moved or taken out of the middle', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const heap = new IndexedHeap<Entry>((a, b) => a.key < b.key);
        const there: Entry[] = [];
        for (const action of steps) {
          const picked = 'pick' in action ? there[action.pick % Math.max(1, there.length)] : heap.first;
          if (action.do === 'add') {
            const entry = new Entry(action.key);
            there.push(entry);
            heap.add(entry);
          } else if (picked === undefined) {
            expect(heap.size).toBe(0);
          } else if (action.do === 'move') {
            picked.key = action.key;
            heap.moved(picked);
          } else {
            heap.remove(picked);
            there.splice(there.indexOf(picked), 1);
            expect(picked.heapIndex).toBe(-1);
            heap.remove(picked);
          }
          const least = Math.min(...there.map((entry) => entry.key));
          expect(heap.size).toBe(there.length);
          expect(heap.first?.key ?? Number.POSITIVE_INFINITY).toBe(least);
          for (const entry of there) expect(heap.at(entry.heapIndex)).toBe(entry);
        }
        const out: number[] = [];
        for (let first = heap.first; first !== undefined; first = heap.first) {
          heap.remove(first);
          out.push(first.key);
        }
        expect(out).toEqual(there.map((entry) => entry.key).sort((a, b) => a - b));
      }),
      { numRuns: 500 },
    );
  });
});
