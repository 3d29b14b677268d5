import { ShoalError } from '../../core/errors.js';
import type { Call } from './call.js';

export function expiredError(call: Call, where: string): ShoalError {
  const allowedMs = Math.round(call.deadlineMs - call.context.arrivedMs);
  return new ShoalError(
    'DEADLINE_EXPIRED',
    `The request for model '${call.spec.model}' ran out of its ${allowedMs} ms ${where}.`,
  );
}

export function timedOutError(call: Call, nowMs: number): ShoalError {
  const waitedMs = Math.round(nowMs - call.context.arrivedMs);
  return new ShoalError(
    'QUEUE_TIMEOUT',
    `The request waited ${waitedMs} ms for model '${call.spec.model}', which is as long as its queue policy allows.`,
    { retryAfterMs: waitedMs },
  );
}

export function hopelessError(call: Call, nowMs: number): ShoalError {
  const leftMs = Math.max(0, Math.round(call.deadlineMs - nowMs));
  return new ShoalError(
    'DEADLINE_INFEASIBLE',
    `The request for model '${call.spec.model}' has ${leftMs} ms left, less than its execution takes by now.`,
  );
}
