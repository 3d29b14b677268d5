import { LatencyHistogram, type LatencySummary, latencyColumns } from './latency-histogram.js';
import type { LoadResult } from './load-fleet.js';
import type { Load, Pacing } from './plan.js';
import type { ErrorTally } from './recorder.js';
import { type Spread, spread } from './spread.js';
import { judge, type Verdict } from './verdict.js';

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
  readonly sendLagUs: LatencySummary;
  readonly heldBack: number;
  readonly errors: Readonly<Record<string, ErrorTally>>;
  readonly clientCpuUsPerRequest: number;
  readonly serverCpuUsPerRequest: Readonly<Record<string, number>>;
  readonly loopUtilisation: number;
  readonly cpuUtilisation: number;
  readonly verdict: Verdict;
}

/** One load over all runs: medians with their range. */
export interface PointSummary {
  readonly load: Load;
  readonly runs: readonly RunSummary[];
  readonly throughputPerS: Spread;
  readonly rowsPerS: Spread;
  readonly goodputPerS: Spread;
  readonly latencyUs: Readonly<Record<(typeof latencyColumns)[number], Spread>>;
  readonly sendLagUsP99: Spread;
  readonly clientCpuUsPerRequest: Spread;
  readonly serverCpuUsPerRequest: Readonly<Record<string, Spread>>;
  readonly errors: Readonly<Record<string, ErrorTally>>;
  readonly verdict: Verdict;
}

export interface PointContext {
  readonly load: Load;
  readonly pacing: Pacing;
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
  return {
    windowMs: seen.windowMs,
    sent: seen.sent,
    good: seen.good,
    throughputPerS: perS(seen.answeredInWindow),
    rowsPerS: perS(seen.answeredInWindow) * context.rows,
    goodputPerS: perS(seen.inDeadlineInWindow),
    latencyUs,
    sendLagUs,
    heldBack: seen.heldBack,
    errors: seen.errors,
    clientCpuUsPerRequest: perRequest(result.cpuUs),
    serverCpuUsPerRequest: mapValues(result.serverCpuUs, perRequest),
    loopUtilisation: result.loopUtilisation,
    cpuUtilisation: result.cpuUtilisation,
    verdict: judge({
      load: context.load,
      pacing: context.pacing,
      hasDeadline: context.deadlineMs !== undefined,
      good: seen.good,
      errors: seen.errors,
      latencyUs,
      sendLagUs,
      loopUtilisation: result.loopUtilisation,
      cpuUtilisation: result.cpuUtilisation,
    }),
  };
}

/** @param runs at least one */
export function summarisePoint(load: Load, runs: readonly RunSummary[]): PointSummary {
  const over = (of: (run: RunSummary) => number): Spread => spread(runs.map(of));
  const watched = [...new Set(runs.flatMap((run) => Object.keys(run.serverCpuUsPerRequest)))];
  const latency = latencyColumns.map((column) => [column, over((run) => run.latencyUs[column])] as const);
  return {
    load,
    runs,
    throughputPerS: over((run) => run.throughputPerS),
    rowsPerS: over((run) => run.rowsPerS),
    goodputPerS: over((run) => run.goodputPerS),
    latencyUs: Object.fromEntries(latency) as PointSummary['latencyUs'],
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

function addErrors(runs: readonly RunSummary[]): Readonly<Record<string, ErrorTally>> {
  const sum: Record<string, ErrorTally> = {};
  for (const run of runs) {
    for (const [code, { count, first }] of Object.entries(run.errors)) {
      const before = sum[code];
      sum[code] = { count: (before?.count ?? 0) + count, first: before?.first ?? first };
    }
  }
  return sum;
}

const mapValues = (
  record: Readonly<Record<string, number>>,
  to: (value: number) => number,
): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, to(value)]));
