import type { Machine } from '../report.js';
import type { BarResult } from './bars/bar.js';

export interface ScheduleResult {
  readonly machine: Machine;
  readonly repetitions: number;
  readonly durationMs: number;
  readonly bars: readonly BarResult[];
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** One Markdown table with a line for every number, for docs/BENCHMARKS.md. */
export function scheduleMarkdown({ machine, repetitions, durationMs, bars }: ScheduleResult): string {
  const lines = bars.flatMap(({ bar, judgements }) =>
    judgements.map(({ what, text, wanted, verdict }) =>
      row([bar, what, text, wanted, wanted === '' ? '' : verdict === 'MISS' ? '**MISS**' : verdict]),
    ),
  );
  return `Measured on ${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}. Medians of ${repetitions} repetitions of ${durationMs / 1000} s each.

${[row(['bar', 'what', 'measured', 'wanted', 'verdict']), row(['---', '---', '---:', '---:', '---']), ...lines].join('\n')}
`;
}

/** Why numbers are not to be believed, one reason a line; empty when all are. */
export const doubtsText = ({ bars }: Pick<ScheduleResult, 'bars'>): string =>
  bars
    .flatMap(({ bar, doubts, disturbed }) => [
      ...doubts.map((doubt) => `${bar}, ${doubt}\n`),
      ...(disturbed === 0 ? [] : [`${bar}: others used the machine during ${disturbed} of its measurements.\n`]),
    ])
    .join('');
