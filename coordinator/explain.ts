import type { VersionState } from '../core/model.js';
import type { ListedExplanation } from '../platform/admin/explanation.js';
import type { Lane } from './scheduling/lane.js';

/** Rows of the tables of who and what waits. */
const mostListed = 20;

type Facts = Omit<ListedExplanation, 'hint'>;

/** What the scheduler knows of one version, and what an operator could make of it. */
export function explainLane(model: string, version: string, state: VersionState, lane: Lane): ListedExplanation {
  const { tally } = lane;
  const closes = [...tally.closes].map(([reason, count]) => ({ reason, ...count }));
  const batches = closes.reduce((sum, close) => sum + close.batches, 0);
  const rows = closes.reduce((sum, close) => sum + close.rows, 0);
  const facts: Facts = {
    model,
    version,
    state,
    maxBatchSize: lane.rule.maxRows,
    meanRows: batches === 0 ? 0 : rows / batches,
    closes: closes.sort((a, b) => b.batches - a.batches),
    lostToShape: tally.lost.shape,
    lostToVersion: tally.lost.version,
    lostToPriority: tally.lost.priority,
    refused: tally.refused,
    shed: tally.shed,
    expired: tally.expired,
    timedOut: tally.timedOut,
    linkMs: lane.linkMs,
    arrivalsPerS: lane.rowsPerMs * 1000,
    profiles: [...lane.profiles.classes()].map(([deviceClass, profile]) => ({
      deviceClass,
      rows: profile.points().map((point) => point.rows),
      ms: profile.points().map((point) => point.ms),
    })),
    workers: [...lane.capacities.values()].map(({ workerId, device, slots, outstanding, speed }) => ({
      workerId,
      device,
      slots,
      running: outstanding,
      slowness: speed,
    })),
    callers: waitingCallers(lane),
    shapes: [...lane.queues.values()]
      .map(({ shapeKey, pieces, rows: waiting }) => ({ shape: shapeKey, requests: pieces, rows: waiting }))
      .sort((a, b) => b.rows - a.rows)
      .slice(0, mostListed),
  };
  return { ...facts, hint: hint(facts, batches) };
}

function waitingCallers(lane: Lane): ListedExplanation['callers'] {
  const callers: { caller: string; level: number; requests: number; rows: number }[] = [];
  for (const level of lane.share.levels) {
    for (const { caller, pieces, rows } of level.waiting()) {
      callers.push({ caller, level: Number.isFinite(level.number) ? level.number : 0, requests: pieces, rows });
    }
  }
  return callers.sort((a, b) => b.rows - a.rows).slice(0, mostListed);
}

const percent = (part: number): string => `${Math.round(100 * part)} %`;
const millis = (ms: number): string => (ms < 10 ? ms.toFixed(1) : ms.toFixed(0));

/** The first thing that is worth changing. */
function hint(facts: Facts, batches: number): string {
  const { closes, maxBatchSize, meanRows } = facts;
  if (batches === 0) return facts.workers.length === 0 ? 'No worker has it ready.' : 'No batch has been executed yet.';
  const share = (reason: string): number => (closes.find((close) => close.reason === reason)?.batches ?? 0) / batches;
  const requests = batches * Math.max(1, meanRows);
  const tooLate = facts.refused + facts.shed + facts.expired;
  if (tooLate > requests / 100) {
    const wholeMs = lastOf(facts.profiles[0]?.ms);
    const wholeRows = lastOf(facts.profiles[0]?.rows);
    return `${tooLate} requests could not be answered within their deadlines: add workers, or allow more time (${wholeRows} rows execute in ${millis(wholeMs)} ms).`;
  }
  if (maxBatchSize === 0)
    return 'The model takes one request at a time; a free batch axis or max_batch_size would let requests share executions.';
  if (facts.lostToShape > batches) {
    return `Batches left ${facts.lostToShape} times without a waiting request of another shape: send fewer different shapes, or declare sequence_buckets if the model can mask padding.`;
  }
  if (facts.lostToVersion > batches) {
    return `Batches left ${facts.lostToVersion} times without a waiting request for another version of the model: send all callers to one version.`;
  }
  if (facts.lostToPriority > requests / 10) {
    return `${facts.lostToPriority} requests were overtaken by more urgent ones: fewer callers should ask for a high priority.`;
  }
  if (share('full') >= 0.5) {
    const stillGains = gainOfTwice(facts) > 0.1;
    return stillGains
      ? `${percent(share('full'))} of the batches are full, and larger ones would still be cheaper a row: raise max_batch_size, or add workers.`
      : `${percent(share('full'))} of the batches are full: the devices are the limit, and only more of them would help.`;
  }
  if (share('delay') >= 0.5) {
    return `${percent(share('delay'))} of the batches wait for max_queue_delay_microseconds and leave with ${meanRows.toFixed(1)} rows: a shorter delay would answer sooner.`;
  }
  if (share('deadline') >= 0.2) {
    return `${percent(share('deadline'))} of the batches are kept small by deadlines: with more time, or more workers, they would be larger and cheaper.`;
  }
  const slowest = facts.workers.reduce((worst, worker) => Math.max(worst, worker.slowness), 1);
  if (slowest > 2) {
    const slow = facts.workers.find((worker) => worker.slowness === slowest);
    return `Worker ${slow?.workerId} takes ${slowest.toFixed(1)} times as long as the others and is used only when the queue is long.`;
  }
  if (meanRows >= 2) {
    const larger =
      gainOfTwice(facts) > 0.1
        ? 'larger ones would be cheaper a row, at the price of waiting: max_queue_delay_microseconds'
        : 'larger ones would hardly be cheaper a row';
    return `Batches form while the instances are busy and leave as soon as one is free (${meanRows.toFixed(1)} rows): ${larger}.`;
  }
  return `An instance is free when requests come (${meanRows.toFixed(1)} rows a batch): nothing waits, and nothing needs to change.`;
}

/** By how much a row would get cheaper with batches twice as large as the largest known, if ℓ goes on as it does. */
function gainOfTwice({ profiles }: Facts): number {
  const { rows, ms } = profiles[0] ?? { rows: [], ms: [] };
  const [wholeRows, wholeMs] = [lastOf(rows), lastOf(ms)];
  const half = rows.findLastIndex((count) => count <= wholeRows / 2);
  const [halfRows, halfMs] = [rows[half] ?? 0, ms[half] ?? 0];
  if (halfRows === 0 || wholeMs === 0) return 0;
  const perRowMs = (wholeMs - halfMs) / (wholeRows - halfRows);
  return 1 - (wholeMs + perRowMs * wholeRows) / (2 * wholeMs);
}

const lastOf = (values: readonly number[] | undefined): number => values?.[values.length - 1] ?? 0;
