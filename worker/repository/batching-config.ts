import { type BatchingRule, naturalBatching, openQueue, type QueuePolicy } from '../../core/model.js';
import {
  badParameter,
  type ConfigParameters,
  parameterChoice,
  parameterSizes,
  warnOfParameter,
} from './config-parameters.js';
import type { ConfigReader } from './config-reader.js';

/** An hour: a longer delay is a slip of the unit. */
const maxDelayUs = 3_600_000_000;
/** Every level has queues of its own. */
export const maxPriorityLevels = 1000;

const fieldsOfBatches = ['preferred_batch_size', 'max_queue_delay_microseconds'];
const fieldsOfQueues = [
  'preserve_ordering',
  'priority_levels',
  'default_priority_level',
  'default_queue_policy',
  'priority_queue_policy',
];

/**
 * `dynamic_batching`, and the parameters `priority_mode` and `fixed_batch_sizes`.
 * @throws MODEL_UNLOADABLE for what Triton refuses too: a level that does not exist, an order that cannot be kept
 */
export function readBatching(
  config: ConfigReader,
  parameters: ConfigParameters,
  maxBatchSize: number | undefined,
): BatchingRule {
  const fixedRows = readFixedRows(parameters, maxBatchSize);
  const priorityMode = parameterChoice(parameters, 'priority_mode', ['weighted', 'strict']);
  const batching = config.message('dynamic_batching');
  const rule =
    batching === undefined
      ? { ...naturalBatching, fixedRows }
      : { ...naturalBatching, fixedRows, ...readDynamicBatching(config, batching, maxBatchSize) };
  if (priorityMode === undefined) return rule;
  if (rule.priorityLevels === 0) {
    warnOfParameter(parameters, 'priority_mode', 'has no effect without dynamic_batching.priority_levels');
  }
  return { ...rule, priorityMode };
}

function readDynamicBatching(
  config: ConfigReader,
  batching: ConfigReader,
  maxBatchSize: number | undefined,
): Omit<BatchingRule, 'priorityMode' | 'fixedRows'> {
  if (maxBatchSize === 0) warnOfNoBatches(config, batching);
  const preferred = batching.integers('preferred_batch_size', { least: 1 });
  const tooLarge = preferred.find((rows) => maxBatchSize !== undefined && rows > maxBatchSize);
  if (tooLarge !== undefined) {
    throw batching.fail(
      batching.at('preferred_batch_size'),
      `'dynamic_batching.preferred_batch_size' ${tooLarge} is larger than max_batch_size, which is ${maxBatchSize}.`,
    );
  }
  const rule = {
    maxQueueDelayUs: batching.integer('max_queue_delay_microseconds', { least: 0, most: maxDelayUs }) ?? 0,
    preferredRows: [...new Set(preferred)].sort((a, b) => a - b),
    preserveOrdering: batching.boolean('preserve_ordering') ?? false,
    ...readPriorities(batching),
  };
  if (rule.preserveOrdering) requireOneOrder(batching, rule);
  return rule;
}

/** Without batches there is nothing to wait for; queues there are all the same. */
function warnOfNoBatches(config: ConfigReader, batching: ConfigReader): void {
  const why = 'has no effect because max_batch_size is 0.';
  if (!fieldsOfQueues.some((field) => batching.has(field))) {
    config.warn(config.at('dynamic_batching'), `'dynamic_batching' ${why}`);
    return;
  }
  for (const field of fieldsOfBatches) {
    if (batching.has(field)) batching.warn(batching.at(field), `'dynamic_batching.${field}' ${why}`);
  }
}

function readPriorities(
  batching: ConfigReader,
): Pick<BatchingRule, 'priorityLevels' | 'defaultPriorityLevel' | 'queuePolicy' | 'queuePolicyByLevel'> {
  const levels = batching.integer('priority_levels', { least: 0, most: maxPriorityLevels }) ?? 0;
  const defaultLevel = batching.integer('default_priority_level', { least: 0 }) ?? 0;
  if (levels > 0 && (defaultLevel === 0 || defaultLevel > levels)) {
    const got = batching.has('default_priority_level') ? defaultLevel : 'none';
    throw batching.fail(
      batching.at(batching.has('default_priority_level') ? 'default_priority_level' : 'priority_levels'),
      `'dynamic_batching.default_priority_level' must be from 1 to priority_levels, which is ${levels}, got ${got}.`,
    );
  }
  const policy = batching.message('default_queue_policy');
  const byLevel: Record<number, QueuePolicy> = {};
  for (const { key, value, entry } of batching.numberedEntries('priority_queue_policy')) {
    if (levels > 0 && (key === 0 || key > levels)) {
      throw entry.fail(
        entry.at('key'),
        `'dynamic_batching.priority_queue_policy' must be for a level from 1 to ${levels}, got ${key}.`,
      );
    }
    byLevel[key] = readQueuePolicy(value);
  }
  if (levels === 0) {
    for (const field of ['default_priority_level', 'priority_queue_policy']) {
      if (!batching.has(field)) continue;
      batching.warn(batching.at(field), `'dynamic_batching.${field}' has no effect because priority_levels is 0.`);
    }
  }
  return {
    priorityLevels: levels,
    defaultPriorityLevel: levels === 0 ? 0 : defaultLevel,
    queuePolicy: policy === undefined ? openQueue : readQueuePolicy(policy),
    queuePolicyByLevel: levels === 0 ? {} : byLevel,
  };
}

function readQueuePolicy(policy: ConfigReader): QueuePolicy {
  const action = policy.choice('timeout_action', ['REJECT', 'DELAY']);
  return {
    timeoutUs: policy.integer('default_timeout_microseconds', { least: 0, most: Number.MAX_SAFE_INTEGER }) ?? 0,
    timeoutAction: action === 'DELAY' ? 'delay' : 'reject',
    allowTimeoutOverride: policy.boolean('allow_timeout_override') ?? false,
    maxRequests: policy.integer('max_queue_size', { least: 0 }) ?? 0,
  };
}

/** Triton's rule: an order cannot be kept between levels, nor when late requests step aside. */
function requireOneOrder(
  batching: ConfigReader,
  rule: Pick<BatchingRule, 'priorityLevels' | 'queuePolicy' | 'queuePolicyByLevel'>,
): void {
  const refuse = (sentence: string) => batching.fail(batching.at('preserve_ordering'), sentence);
  if (rule.priorityLevels > 1) {
    throw refuse(
      `'dynamic_batching.preserve_ordering' cannot be given with ${rule.priorityLevels} priority_levels: give one or none.`,
    );
  }
  const stepsAside = ({ timeoutUs, timeoutAction }: QueuePolicy) => timeoutUs > 0 && timeoutAction === 'delay';
  if ([rule.queuePolicy, ...Object.values(rule.queuePolicyByLevel)].some(stepsAside)) {
    throw refuse(
      "'dynamic_batching.preserve_ordering' cannot be given with a queue policy whose timeout_action is DELAY.",
    );
  }
}

function readFixedRows(parameters: ConfigParameters, maxBatchSize: number | undefined): number[] {
  const key = 'fixed_batch_sizes';
  const sizes = parameterSizes(parameters, key);
  if (sizes === undefined) return [];
  if (maxBatchSize === 0) {
    warnOfParameter(parameters, key, 'has no effect because max_batch_size is 0');
    return [];
  }
  if (maxBatchSize === undefined) throw badParameter(parameters, key, 'needs max_batch_size');
  if (sizes.at(-1) !== maxBatchSize) {
    throw badParameter(parameters, key, `must end with max_batch_size, which is ${maxBatchSize}`);
  }
  return sizes;
}
