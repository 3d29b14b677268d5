import { countText, msText, percentText } from '../number-text.js';
import type { SimResult } from './simulation.js';

const share = (part: number, whole: number): string => percentText(whole === 0 ? 0 : part / whole);

/** One screen of what happened. The same run gives the same text. */
export function summaryText(result: SimResult): string {
  const { plan, tally, utilisation, events, longestQueueRows, violation } = result;
  const { latency, refusal } = tally;
  const refusedCount = tally.requests - tally.answered;
  const codes = tally.refused.map(([code, count]) => `${code} ${countText(count)}`).join(', ');
  const reasons = tally.reasons.map(([reason, count]) => `${reason} ${countText(count)}`).join(', ');
  const { workers, models, faults, durationMs } = plan;
  const lines = [
    ['scenario', `${plan.scenario}, seed ${plan.seed}`],
    [
      'size',
      `${workers.length} workers, ${models.length} models, ${durationMs / 1000} s of load, ${faults.length} faults`,
    ],
    ['requests', `${countText(tally.requests)} of ${countText(tally.rows)} rows`],
    ['answered', `${countText(tally.answered)} (${share(tally.answered, tally.requests)})`],
    ['in time', `${countText(tally.inTime)} (${share(tally.inTime, tally.requests)})`],
    ['refused', refusedCount === 0 ? '0' : `${countText(refusedCount)}: ${codes}`],
    ['told so after', refusedCount === 0 ? '-' : `p50 ${msText(refusal.p50)}, p99 ${msText(refusal.p99)} ms`],
    [
      'latency',
      `p50 ${msText(latency.p50)}, p90 ${msText(latency.p90)}, p99 ${msText(latency.p99)}, p99.9 ${msText(latency.p999)}, max ${msText(latency.max)} ms`,
    ],
    ['batches', `${countText(tally.batches)} of ${tally.meanBatchRows.toFixed(2)} rows on the average (${reasons})`],
    ['retried', `${countText(tally.retries)} batches; ${countText(tally.lateRows)} rows began after their deadline`],
    ['longest queue', `${countText(longestQueueRows)} rows`],
    ['devices busy', percentText(utilisation)],
    ['events', countText(events)],
  ];
  const table = lines.map(([name = '', value = '']) => `${name.padEnd(14)} ${value}`.trimEnd()).join('\n');
  if (violation === undefined) return `${table}\nVALID\n`;
  const at = `${violation.atMs.toFixed(3)} ms`;
  return [
    table,
    '',
    `The last of what happened before:`,
    ...result.lastLines,
    '',
    `INVALID: ${violation.sentence}`,
    `Rule ${violation.rule}, scenario ${plan.scenario}, seed ${plan.seed}, at ${at} of virtual time.\n`,
  ].join('\n');
}
