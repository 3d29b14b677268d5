import { LatencyHistogram, type LatencySummary, latencyColumns, nothing } from './latency-histogram.js';
import type { LoadResult } from './load-fleet.js';
import type { LoadGroup } from './plan.js';
import { type Spread, spread } from './spread.js';
import { judge, type Verdict } from './verdict.js';

/** Failures of one kind. */
export interface ErrorSummary {
  readonly count: number;
  /** The message of the first of them. */
  readonly first: string;
  readonly latencyUs: LatencySummary;
}

/** One run of one load. Latencies in microseconds. */
export interface RunSummary {
  readonly windowMs: number;
  readonly sent: number;
  readonly good: number;
  /** Good answers inside the window, per second. */
  readonly throughputPerS: number;
  readonly rowsPerS: number;
  /** The same, within their deadline. Equal to the throughput when there is none. */
  readonly goodputPerS: number;
  readonly latencyUs: LatencySummary;
  /** Of the requests sent, the share answered well within their deadline. */
  readonly attainment: number;
  /** Of the requests sent, the share that was refused, and how long that took to be said. */
  readonly refusedShare: number;
  readonly refusalUs: LatencySummary;
  /** Rows executed together, as the answers' receipts tell; undefined where they tell nothing. */
  readonly meanBatch: number | undefined;
  readonly sendLagUs: LatencySummary;
  readonly heldBack: number;
  readonly errors: Readonly<Record<string, ErrorSummary>>;
  readonly clientCpuUsPerRequest: number;
  readonly serverCpuUsPerRequest: Readonly<Record<string, number>>;
  readonly loopUtilisation: number;
  readonly cpuUtilisation: number;
  readonly stallMs: number;
  readonly verdict: Verdict;
}

/** One load over all runs: medians with their range. */
export interface PointSummary extends LoadGroup {
  readonly runs: readonly RunSummary[];
  readonly throughputPerS: Spread;
  readonly rowsPerS: Spread;
  readonly goodputPerS: Spread;
  readonly latencyUs: Readonly<Record<(typeof latencyColumns)[number], Spread>>;
  readonly attainment: Spread;
  readonly refusedShare: Spread;
  readonly refusalUsP99: Spread;
  /** Undefined where the answers tell nothing. */
  readonly meanBatch: Spread | undefined;
  readonly sendLagUsP99: Spread;
  readonly clientCpuUsPerRequest: Spread;
  readonly serverCpuUsPerRequest: Readonly<Record<string, Spread>>;
  readonly errors: Readonly<Record<string, Omit<ErrorSummary, 'latencyUs'>>>;
  readonly verdict: Verdict;
}

export interface PointContext {
  /** The load processes wait by spinning. */
  readonly spins: boolean;
  readonly rows: number;
  readonly deadlineMs: number | undefined;
}

function summarise(snapshot: Parameters<LatencyHistogram['merge']>[0]): LatencySummary {
  const histogram = new LatencyHistogram();
  histogram.merge(snapshot);
  return histogram.summary();
}

export function summariseRun(result: LoadResult, context: PointContext): RunSummary {
  const { seen } = result;
  const perS = (count: number): number => (seen.windowMs > 0 ? (count * 1000) / seen.windowMs : 0);
  const perRequest = (cpuUs: number): number => (seen.answeredInWindow > 0 ? cpuUs / seen.answeredInWindow : 0);
  const latencyUs = summarise(seen.latency);
  const sendLagUs = summarise(seen.sendLag);
  const ofSent = (count: number): number => (seen.sent > 0 ? count / seen.sent : 0);
  return {
    windowMs: seen.windowMs,
    sent: seen.sent,
    good: seen.good,
    throughputPerS: perS(seen.answeredInWindow),
    rowsPerS: perS(seen.answeredInWindow) * context.rows,
    goodputPerS: perS(seen.inDeadlineInWindow),
    latencyUs,
    attainment: ofSent(seen.inTime),
    refusedShare: ofSent(seen.refused),
    refusalUs: summarise(seen.refusalLatency),
    meanBatch: seen.batches > 0 ? seen.receipts / seen.batches : undefined,
    sendLagUs,
    heldBack: seen.heldBack,
    errors: mapValues(seen.errors, ({ count, first, latency }) => ({
      count,
      first,
      latencyUs: latency === undefined ? nothing : summarise(latency),
    })),
    clientCpuUsPerRequest: perRequest(result.cpuUs),
    serverCpuUsPerRequest: mapValues(result.serverCpuUs, perRequest),
    loopUtilisation: result.loopUtilisation,
    cpuUtilisation: result.cpuUtilisation,
    stallMs: result.stallMs,
    verdict: judge({
      spins: context.spins,
      hasDeadline: context.deadlineMs !== undefined,
      good: seen.good,
      errors: seen.errors,
      latencyUs,
      sendLagUs,
      loopUtilisation: result.loopUtilisation,
      cpuUtilisation: result.cpuUtilisation,
      stallMs: result.stallMs,
      windowMs: seen.windowMs,
    }),
  };
}

/** @param runs at least one */
export function summarisePoint(group: LoadGroup, runs: readonly RunSummary[]): PointSummary {
  const over = (of: (run: RunSummary) => number): Spread => spread(runs.map(of));
  const watched = [...new Set(runs.flatMap((run) => Object.keys(run.serverCpuUsPerRequest)))];
  const latency = latencyColumns.map((column) => [column, over((run) => run.latencyUs[column])] as const);
  const batches = runs.flatMap((run) => run.meanBatch ?? []);
  return {
    ...group,
    runs,
    throughputPerS: over((run) => run.throughputPerS),
    rowsPerS: over((run) => run.rowsPerS),
    goodputPerS: over((run) => run.goodputPerS),
    latencyUs: Object.fromEntries(latency) as PointSummary['latencyUs'],
    attainment: over((run) => run.attainment),
    refusedShare: over((run) => run.refusedShare),
    refusalUsP99: over((run) => run.refusalUs.p99),
    meanBatch: batches.length > 0 ? spread(batches) : undefined,
    sendLagUsP99: over((run) => run.sendLagUs.p99),
    clientCpuUsPerRequest: over((run) => run.clientCpuUsPerRequest),
    serverCpuUsPerRequest: Object.fromEntries(
      watched.map((name) => [name, over((run) => run.serverCpuUsPerRequest[name] ?? 0)]),
    ),
    errors: addErrors(runs),
    verdict: {
      valid: runs.every((run) => run.verdict.valid),
      reasons: runs.flatMap((run, i) => run.verdict.reasons.map((reason) => `Run ${i + 1}: ${reason}`)),
    },
  };
}

function addErrors(runs: readonly RunSummary[]): PointSummary['errors'] {
  const sum: Record<string, { count: number; first: string }> = {};
  for (const run of runs) {
    for (const [code, { count, first }] of Object.entries(run.errors)) {
      const before = sum[code];
      sum[code] = { count: (before?.count ?? 0) + count, first: before?.first ?? first };
    }
  }
  return sum;
}

const mapValues = <From, To>(
  record: Readonly<Record<string, From>>,
  to: (value: From) => To,
): Readonly<Record<string, To>> => Object.fromEntries(Object.entries(record).map(([name, value]) => [name, to(value)]));
