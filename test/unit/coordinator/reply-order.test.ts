import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReplyOrder } from '../../../coordinator/dispatch/reply-order.js';
import { ShoalError } from '../../../core/errors.js';
import type { InferOutcome, TimingReceipt } from '../../../core/inference.js';

const failed: InferOutcome = { ok: false, error: new ShoalError('CANCELLED', 'The caller hung up.') };
const receipt: TimingReceipt = {
  queueUs: 0,
  batchWaitUs: 0,
  inputUs: 0,
  executeUs: 0,
  outputUs: 0,
  batchRows: 1,
  paddedRows: 0,
  version: '1',
  worker: 'w',
  instance: 'i',
  attempt: 1,
};
const answer = (): InferOutcome => ({
  ok: true,
  response: { model: 'm', version: '1', id: '', outputs: [], receipt },
});

describe('reply order', () => {
  it('lets answers out in the order of their requests and failures at once, and loses nothing', () => {
    // Each request settles after so many others have come, well or badly.
    const request = fc.record({ after: fc.integer({ min: 0, max: 45 }), fails: fc.boolean() });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 60 }), (requests) => {
        const order = new ReplyOrder();
        const told: number[] = [];
        const settle: ((outcome: InferOutcome) => void)[] = [];
        const pending = new Set<number>();
        const answered = new Set<number>();
        for (let now = 0; now < requests.length + 46; now++) {
          if (now < requests.length) {
            settle.push(order.enter(() => told.push(now)));
            pending.add(now);
          }
          for (const [id, { after, fails }] of requests.entries()) {
            if (id + after !== now) continue;
            const before = told.length;
            settle[id]?.(fails ? failed : answer());
            pending.delete(id);
            if (fails) expect(told[before]).toBe(id);
            else answered.add(id);
          }
          // Out is what is settled and has nobody unsettled before it.
          const first = Math.min(...pending);
          const out = requests.flatMap(({ fails }, id) =>
            !pending.has(id) && id <= now && (fails || id < first) ? [id] : [],
          );
          expect([...told].sort((a, b) => a - b)).toEqual(out);
        }
        const inOrder = told.filter((id) => answered.has(id));
        expect(inOrder).toEqual(inOrder.toSorted((a, b) => a - b));
        expect(told).toHaveLength(requests.length);
      }),
      { numRuns: 100 },
    );
  });

  it('keeps order when an answer makes its caller send the next', () => {
    const order = new ReplyOrder();
    const told: string[] = [];
    const second = order.enter(() => told.push('second'));
    const fourth = order.enter(() => {
      told.push('fourth');
      order.enter(() => told.push('third'))(answer());
    });
    fourth(answer());
    expect(told).toEqual([]);
    second(answer());
    expect(told).toEqual(['second', 'fourth', 'third']);
  });
});
