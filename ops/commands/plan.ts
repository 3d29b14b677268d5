import { type Command, Option } from 'commander';
import { parsePositiveDurationMs } from '../../bench/duration.js';
import { countText, percentText } from '../../bench/number-text.js';
import { parseCount, parseNumber } from '../../bench/options.js';
import type { CapacityAnswer } from '../../bench/sim/capacity/planner.js';
import { ShoalError } from '../../core/errors.js';
import { columns } from '../terminal/table.js';

interface PlanOptions {
  readonly trace?: string;
  readonly rate?: string;
  readonly rows: string;
  readonly duration: string;
  readonly deadline?: string;
  readonly profile?: readonly string[];
  readonly slo?: readonly string[];
  readonly maxWorkers: string;
  readonly pipelineDepth: string;
  readonly linkMs: string;
  readonly maxQueueRows: string;
  readonly seed: string;
  readonly output: 'table' | 'json';
}

const notes = `
Runs the real scheduler in virtual time over simulated workers. Each has one device and holds every model,
one instance of each. Refused requests count as later than any limit.

A profile is MODEL=MS+MS*rows,max=ROWS (the time of one execution of so many rows on a worker by itself; max:
most rows of one batch, 64 unless given), or a JSON file of measured points, for one model or a list of them:
  {"model": "big", "max": 64, "points": [{"rows": 1, "ms": 9.4}, {"rows": 64, "ms": 34.8}]}
A trace holds one request a line; atMs counts from its beginning, rows is 1 and deadlineMs (the time allowed)
is that of --deadline unless given:
  {"atMs": 0, "model": "big"}
  {"atMs": 1.7, "model": "big", "rows": 4, "deadlineMs": 100}
Exit code: 0 when some number of workers will do, 1 when none up to --max-workers does.

Examples:
  shoal plan --rate 3000 --deadline 100 --profile 'big=9+0.4*rows,max=64' --slo 'p99<100ms'
  shoal plan --trace monday.jsonl --profile measured.json --slo 'p99<80ms,goodput>=99.9%'
  shoal plan --rate 500 --rows 4 --profile 'a=2+0.1*rows' --profile 'b=5+1*rows,max=8' --slo 'p95<50ms' --output json`;

export function registerPlan(program: Command): void {
  program
    .command('plan')
    .summary('say how many workers a load needs, and what happens when one dies')
    .description(
      'Finds by simulation the least number of workers that meets objectives, and what happens when one dies.',
    )
    .option('--trace <FILE>', 'the requests to plan for, one a line')
    .option('--rate <PER_SECOND>', 'plan for so many requests a second, arriving at random, spread over the models')
    .option('--rows <N>', 'rows of each request of --rate', '1')
    .option('--duration <TIME>', 'how long --rate lasts', '30s')
    .option('--deadline <MS>', 'time allowed for each request, where the trace does not say (default: none)')
    .option('--profile <PROFILE...>', 'what executions of a model take: a formula or a file; repeatable')
    .option('--slo <OBJECTIVES...>', 'what must hold, like p99<100ms or goodput>=99.9%, parted by commas')
    .option('--max-workers <N>', 'most workers to try', '1000')
    .option('--pipeline-depth <N>', 'batches that may be on their way to an instance besides the one it runs', '1')
    .option('--link-ms <MS>', 'time a message takes between coordinator and worker', '0.2')
    .option('--max-queue-rows <N>', 'rows that may wait in one queue', '4096')
    .option('--seed <N>', 'seed of arrivals and execution times', '1')
    .addOption(new Option('--output <FORMAT>', 'how to print').choices(['table', 'json']).default('table'))
    .addHelpText('after', notes)
    .action(async (options: PlanOptions) => plan(options));
}

async function plan(options: PlanOptions): Promise<void> {
  // Loaded only here: it brings the whole coordinator with it.
  const { planCapacity } = await import('../../bench/sim/capacity/planner.js');
  const { parseObjectives } = await import('../../bench/sim/capacity/objectives.js');
  const { readProfiles, readText } = await import('../../bench/sim/capacity/model-profiles.js');
  const { parseTrace, poissonTraffic } = await import('../../bench/sim/capacity/traffic.js');
  if ((options.trace === undefined) === (options.rate === undefined))
    throw new ShoalError('BAD_SETTING', 'Give the load as --trace FILE or as --rate PER_SECOND, and not as both.');
  if (options.profile === undefined)
    throw new ShoalError('BAD_SETTING', 'Say with --profile what executions take, like big=9+0.4*rows,max=64.');
  if (options.slo === undefined) throw new ShoalError('BAD_SETTING', 'Say with --slo what must hold, like p99<100ms.');
  const objectives = parseObjectives(options.slo);
  const models = readProfiles(options.profile);
  const seed = parseCount('--seed', options.seed, 0, 2 ** 32 - 1);
  const allowedMs =
    options.deadline === undefined
      ? Number.POSITIVE_INFINITY
      : parseNumber('--deadline', options.deadline, 0.001, 86_400_000);
  const traffic =
    options.trace === undefined
      ? poissonTraffic(
          {
            ratePerS: parseNumber('--rate', options.rate ?? '', 0.001, 10_000_000),
            rows: parseCount('--rows', options.rows),
            durationMs: parsePositiveDurationMs('--duration', options.duration),
            allowedMs,
          },
          [...models.values()],
          seed,
        )
      : parseTrace(readText('--trace', options.trace), options.trace, models, allowedMs);
  const answer = planCapacity({
    ...{ objectives, traffic, seed, models: [...models.values()] },
    mostWorkers: parseCount('--max-workers', options.maxWorkers, 1, 10_000),
    pipelineDepth: parseCount('--pipeline-depth', options.pipelineDepth, 0, 64),
    linkMs: parseNumber('--link-ms', options.linkMs, 0, 10_000),
    maxQueueRows: parseCount('--max-queue-rows', options.maxQueueRows, 1, 100_000_000),
  });
  const seconds = traffic.durationMs / 1000;
  const rows = traffic.requests.reduce((sum, request) => sum + request.rows, 0);
  const load = { requests: traffic.requests.length, rows, seconds, seed };
  const slo = objectives.map(({ text }) => text);
  const head = `${countText(load.requests)} requests of ${countText(rows)} rows in ${countText(seconds)} s, seed ${seed}; wanted: ${slo.join(', ')}\n`;
  process.stdout.write(
    options.output === 'json'
      ? `${JSON.stringify({ load, objectives: slo, ...answer }, undefined, 2)}\n`
      : `${head}\n${planText(answer)}`,
  );
  if (answer.workers === null) process.exitCode = 1;
}

const msText = (ms: number | null): string => (ms === null ? 'refused' : ms.toFixed(1));

/** `shoal plan` as tables. */
export function planText({ workers, attempts, deaths }: CapacityAnswer): string {
  const tried = columns(
    ['workers', 'p50 ms', 'p99 ms', 'in time', 'refused', 'batch', 'busy', ''],
    attempts.map((attempt) => [
      ...[attempt.workers, msText(attempt.p50Ms), msText(attempt.p99Ms), percentText(attempt.inTime), attempt.refused],
      ...[attempt.meanBatchRows.toFixed(1), percentText(attempt.utilisation), attempt.meets ? 'meets it' : ''],
    ]),
    [0, 1, 2, 3, 4, 5, 6],
  );
  if (workers === null) return `${tried}\n\nNo number of workers that was tried meets it.\n`;
  const died = columns(
    ['workers', 'p99 ms', 'in time', 'refused', 'recovered after', ''],
    deaths.map((death) => [
      ...[death.workers, msText(death.p99Ms), percentText(death.inTime), death.refused],
      death.recoveredAfterMs === null ? 'never' : `${countText(death.recoveredAfterMs)} ms`,
      death.meets ? 'meets it all the same' : '',
    ]),
    [0, 1, 2, 3, 4],
  );
  const needed = `${workers} ${workers === 1 ? 'worker meets' : 'workers meet'} it.`;
  return `${tried}\n\n${needed} When one dies at half time, from then on:\n\n${died}\n`;
}
