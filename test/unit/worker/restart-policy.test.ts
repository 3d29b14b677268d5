import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../core/random.js';
import { afterCrash, defaultRestartSettings, noCrashes } from '../../../worker/restart-policy.js';

const settings = { baseDelayMs: 100, maxDelayMs: 1_000, crashLimit: 5, crashWindowMs: 60_000 };

function crashesAt(instantsMs: readonly number[], seed = 1) {
  const random = seededRandom(seed);
  let history = noCrashes;
  return instantsMs.map((nowMs) => {
    const after = afterCrash(history, nowMs, settings, random);
    history = after.history;
    return after.decision;
  });
}

describe('after a crash', () => {
  it('the wait doubles up to its limit, between half and all of it', () => {
    const fulls = [100, 200, 400, 800, 1_000, 1_000];
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const decisions = crashesAt(
          fulls.map((_, i) => i * 50_000),
          seed,
        );
        for (const [i, decision] of decisions.entries()) {
          if (decision.kind !== 'restart') throw new Error('expected a restart');
          expect(decision.delayMs).toBeGreaterThanOrEqual((fulls[i] ?? 0) / 2);
          expect(decision.delayMs).toBeLessThan(fulls[i] ?? 0);
        }
      }),
    );
  });

  it('the fifth within a minute is the end, five in a longer time are not', () => {
    expect(crashesAt([0, 1, 2, 3, 4]).map(({ kind }) => kind)).toEqual([...Array(4).fill('restart'), 'quarantine']);
    expect(crashesAt([0, 1, 2, 3, 59_999]).at(-1)).toEqual({ kind: 'quarantine', crashes: 5 });
    expect(crashesAt([0, 1, 2, 3, 60_000]).at(-1)?.kind).toBe('restart');
  });

  it('the same seed waits the same', () => {
    expect(crashesAt([0, 1, 2], 9)).toEqual(crashesAt([0, 1, 2], 9));
    expect(crashesAt([0, 1, 2], 9)).not.toEqual(crashesAt([0, 1, 2], 10));
  });

  it('the defaults give up after five in a minute', () => {
    expect(defaultRestartSettings).toMatchObject({ crashLimit: 5, crashWindowMs: 60_000 });
  });
});
