import { arch, cpus, platform, release } from 'node:os';
import Table from 'cli-table3';
import type { Ceiling } from './ceiling.js';
import type { CallerOptions, ClientKind } from './infer-caller.js';
import { countText, msText, percentText, spreadText } from './number-text.js';
import { groupText, type Pacing, spinsFor } from './plan.js';
import type { PointSummary } from './point.js';
import { median } from './spread.js';

/** Everything one `shoal bench` found. `--output json` prints it as it is. */
export interface BenchReport {
  readonly tool: 'shoal bench';
  readonly formatVersion: 2;
  readonly model: string;
  readonly version: string;
  readonly server: string;
  /** Requests are of each of these in turn. */
  readonly shapes: readonly (readonly { readonly name: string; readonly shape: readonly number[] }[])[];
  readonly rowsPerRequest: number;
  readonly requestBytes: number;
  readonly runs: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly processes: number;
  readonly client: ClientKind;
  readonly connections: number;
  readonly metadata: CallerOptions['metadata'];
  readonly pacing: Pacing;
  readonly seed: number;
  readonly machine: Machine;
  readonly points: readonly ReportedPoint[];
  readonly ceiling: Ceiling | undefined;
  /** Stopped by hand before the end. */
  readonly stoppedEarly: boolean;
  readonly verdict: 'VALID' | 'INVALID';
}

export interface ReportedPoint extends PointSummary {
  /** Median rows per second by the median of the ceiling's best batch size. */
  readonly ceilingFraction: number | undefined;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly system: string;
  readonly node: string;
}

export const thisMachine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  // All of them, whatever this process is pinned to.
  cores: cpus().length,
  system: `${platform()} ${release()} ${arch()}`,
  node: process.version,
});

export const withFraction = (point: PointSummary, ceiling: Ceiling | undefined): ReportedPoint => ({
  ...point,
  ceilingFraction: ceiling === undefined ? undefined : point.rowsPerS.median / ceiling.best.rowsPerS.median,
});

/** The same report for people; plain text with box-drawing lines. */
export function reportText(report: BenchReport): string {
  const lines = [
    `${report.model}${report.version === '' ? '' : ` version ${report.version}`} at ${report.server}`,
    `${report.rowsPerRequest} rows and ${countText(report.requestBytes)} bytes a request, ${report.runs} runs of ` +
      `${report.durationMs / 1000} s after ${report.warmupMs / 1000} s of warm-up, medians (lowest–highest)`,
    pointsTable(report),
  ];
  if (report.ceiling !== undefined) lines.push(ceilingText(report.ceiling));
  if (report.points.some((point) => (point.ceilingFraction ?? 0) > 1)) {
    lines.push('More than 100 % of the ceiling: the server uses more threads or cores than it; see --ceiling-threads.');
  }
  for (const point of report.points) {
    for (const [code, { count, first }] of Object.entries(point.errors)) {
      lines.push(`${groupText(point)}: ${count} × ${code}${delayText(point, code)}, the first: ${first}`);
    }
  }
  if (report.stoppedEarly) lines.push('Stopped early: the last run is shorter than asked for.');
  for (const point of report.points) {
    for (const reason of point.verdict.reasons) lines.push(`${groupText(point)}: ${reason}`);
  }
  lines.push(report.verdict);
  return `${lines.join('\n')}\n`;
}

/** How long failures of one kind took to come: ranges over the runs. */
function delayText(point: ReportedPoint, code: string): string {
  const seen = point.runs.flatMap((run) => run.errors[code]?.latencyUs ?? []).filter(({ count }) => count > 0);
  if (seen.length === 0) return '';
  const middle = (of: 'p50' | 'p99' | 'max'): string => msText(median(seen.map((latency) => latency[of])));
  return ` (after p50 ${middle('p50')}, p99 ${middle('p99')}, at most ${middle('max')} ms)`;
}

function pointsTable(report: BenchReport): string {
  const { points } = report;
  const watched = [...new Set(points.flatMap((point) => Object.keys(point.serverCpuUsPerRequest)))];
  const open = points.some((point) => point.load.kind === 'open');
  const limited = points.some((point) => point.deadlineMs !== undefined);
  const refused = points.some((point) => point.refusedShare.max > 0);
  const told = points.some((point) => point.meanBatch !== undefined);
  const table = new Table({
    head: [
      'load',
      'requests/s',
      ...(report.rowsPerRequest > 1 ? ['rows/s'] : []),
      ...(limited ? ['goodput/s', 'in time'] : []),
      ...(refused ? ['refused', 'refusal p99 ms'] : []),
      ...['p50', 'p90', 'p95', 'p99', 'p99.9', 'max', 'mean'].map((name) => `${name} ms`),
      ...(told ? ['mean batch'] : []),
      ...(open ? ['send lag p99 ms'] : []),
      'errors',
      'client CPU µs',
      ...watched.map((name) => `${name} CPU µs`),
      ...(report.ceiling === undefined ? [] : ['of ceiling']),
      'verdict',
    ],
    style: { head: [], border: [] },
  });
  for (const point of points) {
    const { p50, p90, p95, p99, p999, max, mean } = point.latencyUs;
    const errors = Object.values(point.errors).reduce((sum, { count }) => sum + count, 0);
    table.push([
      groupText(point),
      spreadText(point.throughputPerS),
      ...(report.rowsPerRequest > 1 ? [spreadText(point.rowsPerS)] : []),
      ...(limited ? [spreadText(point.goodputPerS), percentText(point.attainment.median)] : []),
      ...(refused ? [percentText(point.refusedShare.median), msText(point.refusalUsP99.median)] : []),
      ...[p50, p90, p95, p99, p999, max, mean].map((latency) => msText(latency.median)),
      ...(told ? [point.meanBatch === undefined ? '' : spreadText(point.meanBatch)] : []),
      ...(open ? [msText(point.sendLagUsP99.median)] : []),
      countText(errors),
      spinsFor(points, report.pacing) ? 'spins' : countText(point.clientCpuUsPerRequest.median),
      ...watched.map((name) => countText(point.serverCpuUsPerRequest[name]?.median ?? 0)),
      ...(report.ceiling === undefined ? [] : [percentText(point.ceilingFraction ?? 0)]),
      point.verdict.valid ? 'VALID' : 'INVALID',
    ]);
  }
  return table.toString();
}

function ceilingText(ceiling: Ceiling): string {
  const table = new Table({
    head: [
      `bare ONNX Runtime (intra-op threads: ${ceiling.intraOpThreads}), batch`,
      'rows/s',
      'call p50 ms',
      'call p99 ms',
      '',
    ],
    style: { head: [], border: [] },
  });
  for (const point of ceiling.points) {
    table.push([
      point.batch,
      spreadText(point.rowsPerS),
      msText(point.callUs.p50),
      msText(point.callUs.p99),
      point === ceiling.best ? 'best' : '',
    ]);
  }
  return table.toString();
}
