import { ShoalError } from '../../core/errors.js';
import type { Parameters } from '../../core/inference.js';
import type { BatchingRule } from '../../core/model.js';
import { policyOf } from '../scheduling/lane-rule.js';

/** On what terms one request waits: Triton's priorities and queue policies. */
export interface QueueTerms {
  /** 1 is the most urgent; 0 where the model has no levels. */
  readonly level: number;
  /** Instant until which the queue policy lets it wait; Infinity: for as long as its deadline allows. */
  readonly patienceMs: number;
  /** After that it waits on, behind all others, instead of being refused. */
  readonly yields: boolean;
}

const forEver: QueueTerms = { level: 0, patienceMs: Number.POSITIVE_INFINITY, yields: false };

/**
 * Reads the request's `priority` parameter against the model's levels and policies. As in Triton, a level that the
 * model does not have counts as none given.
 * @throws INVALID_REQUEST when `priority` is no whole number
 */
export function queueTerms(
  batching: BatchingRule,
  parameters: Parameters,
  timeoutMs: number,
  arrivedMs: number,
): QueueTerms {
  const { priorityLevels, queuePolicy } = batching;
  if (priorityLevels === 0 && queuePolicy.timeoutUs === 0) return forEver;
  const level = priorityLevels === 0 ? 0 : levelOf(batching, parameters.priority);
  const policy = policyOf(batching, level);
  let waitMs = policy.timeoutUs === 0 ? Number.POSITIVE_INFINITY : policy.timeoutUs / 1000;
  if (policy.allowTimeoutOverride) waitMs = Math.min(waitMs, timeoutMs);
  return { level, patienceMs: arrivedMs + waitMs, yields: policy.timeoutAction === 'delay' };
}

function levelOf(batching: BatchingRule, priority: Parameters[string] | undefined): number {
  if (priority === undefined) return batching.defaultPriorityLevel;
  const level = typeof priority === 'string' && /^\d+$/.test(priority) ? Number(priority) : priority;
  if ((typeof level !== 'number' && typeof level !== 'bigint') || !(level >= 0) || Number(level) % 1 !== 0) {
    throw new ShoalError(
      'INVALID_REQUEST',
      `Parameter 'priority' must be a whole number from 1 (most urgent) to ${batching.priorityLevels}, got ${JSON.stringify(String(priority))}.`,
    );
  }
  return level >= 1 && level <= batching.priorityLevels ? Number(level) : batching.defaultPriorityLevel;
}
