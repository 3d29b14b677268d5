import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../core/clock.js';

describe('virtual time', () => {
  it('fires timers as a list sorted at every step would, whatever is set and cancelled', () => {
    const action = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), delayMs: fc.integer({ min: -1, max: 20 }) }),
      fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(200) }),
      fc.record({ kind: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 10 }) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const clock = new VirtualClock();
        const fired: number[] = [];
        const cancels: (() => void)[] = [];
        let oracle: { id: number; atMs: number }[] = [];
        const expected: number[] = [];
        let nowMs = 0;
        for (const act of actions) {
          if (act.kind === 'set') {
            const id = cancels.length;
            cancels.push(clock.after(act.delayMs, () => fired.push(id)));
            oracle.push({ id, atMs: nowMs + Math.max(0, act.delayMs) });
          } else if (act.kind === 'cancel') {
            cancels[act.which]?.();
            oracle = oracle.filter(({ id }) => id !== act.which);
          } else {
            nowMs += act.ms;
            clock.advance(act.ms);
            const due = oracle.filter(({ atMs }) => atMs <= nowMs).sort((a, b) => a.atMs - b.atMs || a.id - b.id);
            expected.push(...due.map(({ id }) => id));
            oracle = oracle.filter(({ atMs }) => atMs > nowMs);
          }
          expect(fired).toEqual(expected);
          expect(clock.nowMs()).toBe(nowMs);
          expect(clock.pendingTimers).toBe(oracle.length);
          expect(clock.nextMs).toBe(Math.min(Number.POSITIVE_INFINITY, ...oracle.map(({ atMs }) => atMs)));
        }
      }),
    );
  });

  it('fires timers that a timer sets, at the instant they are due', () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    clock.after(5, () => {
      seen.push(`first at ${clock.nowMs()}`);
      clock.after(0, () => seen.push(`second at ${clock.nowMs()}`));
      clock.after(2, () => seen.push(`third at ${clock.nowMs()}`));
    });
    clock.advance(6);
    expect(seen).toEqual(['first at 5', 'second at 5']);
    clock.runUntil(7);
    expect(seen.at(-1)).toBe('third at 7');
    expect(clock.step()).toBe(false);
  });

  it('runs what was deferred after the event under way and before the next, at the same instant', () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    clock.defer(() => seen.push(`from outside at ${clock.nowMs()}`));
    clock.after(3, () => {
      clock.defer(() => {
        seen.push(`deferred at ${clock.nowMs()}`);
        clock.defer(() => seen.push('deferred by the deferred'));
      });
      seen.push('event');
    });
    clock.after(3, () => seen.push('next event'));
    clock.advance(10);
    expect(seen).toEqual(['from outside at 0', 'event', 'deferred at 3', 'deferred by the deferred', 'next event']);
  });
});
