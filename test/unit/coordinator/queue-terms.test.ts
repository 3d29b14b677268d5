import { describe, expect, it } from 'vitest';
import { queueTerms } from '../../../coordinator/admission/queue-terms.js';
import type { Parameters } from '../../../core/inference.js';
import { type BatchingRule, naturalBatching, openQueue } from '../../../core/model.js';

const noLimit = Number.POSITIVE_INFINITY;
const levels: BatchingRule = {
  ...naturalBatching,
  priorityLevels: 3,
  defaultPriorityLevel: 2,
  queuePolicy: { ...openQueue, timeoutUs: 10_000 },
  queuePolicyByLevel: {
    1: { ...openQueue, timeoutUs: 2000, timeoutAction: 'delay' },
    3: { ...openQueue, timeoutUs: 50_000, allowTimeoutOverride: true },
  },
};

describe('queue terms', () => {
  it('are open where the model declares nothing', () => {
    const terms = queueTerms(naturalBatching, { priority: 'nonsense' }, 5, 100);
    expect(terms).toEqual({ level: 0, patienceMs: noLimit, yields: false });
  });

  it.each([
    [1, 1, 102, true],
    [2n, 2, 110, false],
    ['3', 3, 150, false],
    [undefined, 2, 110, false],
    [0, 2, 110, false],
    [4, 2, 110, false],
    ['99', 2, 110, false],
  ])('priority %s is level %i, waits until %i', (priority, level, patienceMs, yields) => {
    const parameters: Parameters = priority === undefined ? {} : { priority };
    expect(queueTerms(levels, parameters, noLimit, 100)).toEqual({ level, patienceMs, yields });
  });

  it.each(['urgent', '-1', '1.5', '', 1.5, -1, Number.NaN, true])('refuses priority %j with a sentence', (priority) => {
    expect(() => queueTerms(levels, { priority }, noLimit, 0)).toThrow(
      expect.objectContaining({
        code: 'INVALID_REQUEST',
        message: expect.stringContaining('from 1 (most urgent) to 3'),
      }),
    );
  });

  it('lets a request shorten its time where the policy allows it, never lengthen it', () => {
    expect(queueTerms(levels, { priority: 3 }, 20, 100).patienceMs).toBe(120);
    expect(queueTerms(levels, { priority: 3 }, 90, 100).patienceMs).toBe(150);
    expect(queueTerms(levels, { priority: 2 }, 5, 100).patienceMs).toBe(110);
  });
});
