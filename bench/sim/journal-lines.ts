import type { InferOutcome } from '../../core/inference.js';
import type { Batch, ToCoordinator, ToWorker } from '../../core/link.js';
import { eachRow } from './rows.js';
import type { SimAnswer, SimRequest } from './sim-request.js';

/** Requests of a batch that are named one by one. */
const namedRequests = 8;

export function askLine({ id, model, caller, rows, width, priority, sentMs, deadlineMs }: SimRequest): string {
  const allowed = deadlineMs === Number.POSITIVE_INFINITY ? '' : `, within ${(deadlineMs - sentMs).toFixed(1)} ms`;
  const urgency = priority === 0 ? '' : `, priority ${priority}`;
  return `${caller} asks ${model.spec.model}: request ${id}, ${rows} rows of ${width} words${urgency}${allowed}`;
}

export function answerLine({ request, latencyMs, isInTime }: SimAnswer, outcome: InferOutcome): string {
  const after = `after ${latencyMs.toFixed(3)} ms`;
  if (!outcome.ok) return `request ${request.id} refused ${after}: ${outcome.error.code}`;
  const { batchRows, worker, attempt } = outcome.response.receipt;
  const again = attempt > 1 ? `, attempt ${attempt}` : '';
  return `request ${request.id} answered ${after}${isInTime ? '' : ', late'} (batch of ${batchRows} on ${worker}${again})`;
}

export const sentLine = (workerId: string, message: ToWorker): string =>
  message.kind === 'cancel'
    ? `coordinator → ${workerId}: cancel batch ${message.batchId}`
    : `coordinator → ${workerId}: ${batchText(message.batch)}`;

function batchText(batch: Batch): string {
  const ids = new Set<number>();
  eachRow(batch, (id) => ids.add(id));
  const named = [...ids].slice(0, namedRequests).join(' ');
  const more = ids.size > namedRequests ? ` and ${ids.size - namedRequests} more` : '';
  const budget = Number.isFinite(batch.budgetUs) ? `, ${(batch.budgetUs / 1000).toFixed(1)} ms left` : '';
  const again = batch.attempt > 1 ? `, attempt ${batch.attempt}` : '';
  return `batch ${batch.batchId} of ${batch.model}, ${batch.rows} rows (requests ${named}${more})${budget}${again}`;
}

export function toldLine(workerId: string, message: ToCoordinator): string {
  const who = `${workerId} → coordinator:`;
  switch (message.kind) {
    case 'hello':
      return `${who} hello, ${message.versions.length} versions`;
    case 'version':
      return `${who} ${message.status.model} is ${message.status.state}, ${message.status.slots} instances`;
    case 'gone':
      return `${who} ${message.model} is gone`;
    case 'draining':
      return `${who} draining`;
    case 'result':
      return `${who} result of batch ${message.result.batchId} after ${(message.result.timing.executeUs / 1000).toFixed(3)} ms`;
    case 'failure':
      return `${who} failure of batch ${message.failure.batchId}: ${message.failure.error.code}`;
  }
}
