import type { Ceiling } from '../ceiling.js';
import { countText, msText, percentText, spreadText } from '../number-text.js';
import type { PointSummary } from '../point.js';
import type { Machine } from '../report.js';
import type { Spread } from '../spread.js';

/** One model at one concurrency over all repetitions. */
export interface ServePoint {
  readonly model: string;
  readonly concurrency: number;
  readonly summary: PointSummary;
  /** Rows per executed batch, by the server's own counters. */
  readonly meanBatch: Spread;
  /** Repetitions during which others used the machine. */
  readonly disturbed: number;
}

export interface ServeResult {
  readonly machine: Machine;
  readonly ceilings: Readonly<Record<string, Ceiling>>;
  readonly points: readonly ServePoint[];
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), row(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(row)].join('\n');
}

/** Tables in Markdown, for docs/BENCHMARKS.md. */
export function serveMarkdown(result: ServeResult): string {
  const { machine } = result;
  return [
    `Measured on ${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}. ` +
      'Medians (lowest–highest) of interleaved repetitions.',
    '### Bare ONNX Runtime, one thread',
    ceilingTable(result),
    '### Served',
    'The model `null` is a server that does nothing: what it costs is the harness and grpc-js alone.',
    servedTable(result),
    '### Added latency with one caller',
    addedTable(result),
    '',
  ].join('\n\n');
}

const ceilingTable = ({ ceilings }: ServeResult): string =>
  table(
    ['model', 'best batch', 'rows/s', 'one row: call p50 ms', 'call p99 ms'],
    Object.entries(ceilings).map(([model, ceiling]) => {
      const single = ceiling.points[0]?.callUs;
      return [
        model,
        String(ceiling.best.batch),
        spreadText(ceiling.best.rowsPerS),
        msText(single?.p50 ?? 0),
        msText(single?.p99 ?? 0),
      ];
    }),
  );

function servedTable({ ceilings, points }: ServeResult): string {
  const watched = [...new Set(points.flatMap(({ summary }) => Object.keys(summary.serverCpuUsPerRequest)))];
  const head = ['model', 'callers', 'requests/s', 'of ceiling', 'mean batch', 'p50 ms', 'p99 ms'];
  return table(
    [...head, ...watched.map((name) => `${name} CPU µs`), 'harness CPU µs', 'verdict'],
    points.map(({ model, concurrency, summary, meanBatch, disturbed }) => {
      const best = ceilings[model]?.best.rowsPerS.median;
      return [
        model,
        String(concurrency),
        spreadText(summary.throughputPerS),
        best === undefined ? '' : percentText(summary.rowsPerS.median / best),
        best === undefined ? '' : spreadText(meanBatch),
        msText(summary.latencyUs.p50.median),
        msText(summary.latencyUs.p99.median),
        ...watched.map((name) => countText(summary.serverCpuUsPerRequest[name]?.median ?? 0)),
        countText(summary.clientCpuUsPerRequest.median),
        `${summary.verdict.valid ? 'VALID' : 'INVALID'}${disturbed === 0 ? '' : `, ${disturbed} disturbed`}`,
      ];
    }),
  );
}

function addedTable({ ceilings, points }: ServeResult): string {
  const single = points.filter((point) => point.concurrency === 1);
  return table(
    ['model', 'served p50 ms', 'bare p50 ms', 'added p50 ms', 'served p99 ms', 'bare p99 ms', 'added p99 ms'],
    single.map(({ model, summary }) => {
      const bare = ceilings[model]?.points[0]?.callUs;
      const cells = (['p50', 'p99'] as const).flatMap((column) => {
        const served = summary.latencyUs[column].median;
        const alone = bare?.[column] ?? 0;
        return [served, alone, served - alone].map(msText);
      });
      return [model, ...cells];
    }),
  );
}

/** Reasons why points are not to be believed, one a line; empty when all are. */
export const complaints = ({ points }: ServeResult): string =>
  points
    .flatMap(({ model, concurrency, summary }) =>
      summary.verdict.reasons.map((reason) => `${model} at ${concurrency}: ${reason}\n`),
    )
    .join('');
