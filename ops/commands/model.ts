import { type Command, Option } from 'commander';
import { AdminClient } from '../../platform/admin/client.js';
import type { ListedExplanation } from '../../platform/admin/explanation.js';
import { addSettingOptions, settingsOf } from '../setting-options.js';
import { columns } from '../terminal/table.js';

const explainNotes = `
What it tells: why batches were closed (full: as large as they may be; idle: an instance was free and nobody was
worth waiting for; delay: max_queue_delay passed; deadline: waiting on would have made a request late; preferred,
unbatched), who could have come along but for another shape, version or priority, how long executions take, and one
hint. Counts are since the coordinator started.

Examples:
  shoal model explain magika
  shoal model explain magika --version 2 --output json`;

export function registerModel(program: Command): void {
  const group = program
    .command('model')
    .summary('look into one model')
    .description('Looks into one model.')
    .addHelpText('after', '\nExamples:\n  shoal model explain magika');
  const command = group
    .command('explain')
    .summary('why its batches are as they are, and what would help')
    .description('Tells why the batches of a model are as they are, and what would help.')
    .argument('<MODEL>', 'name of the model')
    .option('--version <VERSION>', 'only this version')
    .addOption(new Option('--output <FORMAT>', 'how to print').choices(['table', 'json']).default('table'));
  addSettingOptions(command, 'client')
    .addHelpText('after', explainNotes)
    .action(async (model: string, options: { readonly output: string; readonly version?: string }) => {
      const admin = new AdminClient(settingsOf(command, 'client').server);
      try {
        const versions = await admin.explainModel(model, options.version ?? '');
        const text =
          options.output === 'json'
            ? JSON.stringify(versions, undefined, 2)
            : versions.map(explanationText).join('\n\n');
        process.stdout.write(`${text}\n`);
      } finally {
        admin.close();
      }
    });
}

/** `shoal model explain` for one version. */
export function explanationText(told: ListedExplanation): string {
  const batches = told.closes.reduce((sum, close) => sum + close.batches, 0);
  const limit = told.maxBatchSize === 0 ? 'one request at a time' : `at most ${told.maxBatchSize} rows`;
  const parts = [
    `${told.model} version ${told.version}, ${told.state}: ${batches} batches of ${told.meanRows.toFixed(1)} rows on average (${limit}).`,
    `→ ${told.hint}`,
  ];
  if (batches > 0) {
    const rows = told.closes.map(({ reason, batches: count, rows: sum }) => [
      reason,
      count,
      `${((100 * count) / batches).toFixed(0)} %`,
      (sum / count).toFixed(1),
    ]);
    parts.push(columns(['closed because', 'batches', 'share', 'mean rows'], rows, [1, 2, 3]));
  }
  parts.push(
    columns(
      ['could have come along but for', 'requests'],
      [
        ['another shape', told.lostToShape],
        ['another version', told.lostToVersion],
        ['more urgent ones', told.lostToPriority],
      ],
      [1],
    ),
    columns(
      ['not executed because', 'requests'],
      [
        ['deadline could not be met, told at once', told.refused],
        ['deadline could not be met any more', told.shed],
        ['deadline passed in the queue', told.expired],
        ["the queue policy's timeout", told.timedOut],
      ],
      [1],
    ),
  );
  for (const { deviceClass, rows, ms } of told.profiles) {
    if (rows.length === 0) continue;
    const lines = rows.map((count, i) => [count, millisText(ms[i] ?? 0), (count / ((ms[i] ?? 0) / 1000)).toFixed(0)]);
    parts.push(columns([`rows on ${deviceClass}`, 'ms', 'rows/s'], lines, [0, 1, 2]));
  }
  if (told.workers.length > 0) {
    const lines = told.workers.map((worker) => [
      worker.workerId,
      worker.device,
      worker.slots,
      worker.running,
      `${worker.slowness.toFixed(2)}×`,
    ]);
    parts.push(columns(['worker', 'device', 'instances', 'running', 'time taken'], lines, [2, 3, 4]));
  }
  if (told.callers.length > 0) {
    const lines = told.callers.map(({ caller, level, requests, rows }) => [caller, level || '-', requests, rows]);
    parts.push(columns(['waiting caller', 'priority', 'requests', 'rows'], lines, [1, 2, 3]));
  }
  return parts.join('\n\n');
}

const millisText = (ms: number): string => (ms < 1 ? ms.toFixed(3) : ms < 100 ? ms.toFixed(2) : ms.toFixed(0));
