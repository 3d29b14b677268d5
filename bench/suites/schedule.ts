/**
 * `npm run bench:schedule`: the bars of the scheduler, each against what it is held to. One whole `shoal up` on one
 * core and the load on another, but for late binding, which has several workers on all cores. Prints the table of
 * docs/BENCHMARKS.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { ShoalError } from '../../core/errors.js';
import { parseDurationMs, parsePositiveDurationMs } from '../duration.js';
import { clientKinds } from '../infer-caller.js';
import { generateBenchModels } from '../models/generate.js';
import { oneOf, parseCount, parseCpus, parseNumber } from '../options.js';
import { thisMachine } from '../report.js';
import { attainmentBar } from './bars/attainment.js';
import type { BarContext, BarResult } from './bars/bar.js';
import { ceilingBar } from './bars/ceiling.js';
import { fairnessBar } from './bars/fairness.js';
import { lateBar } from './bars/late.js';
import { mixedBar } from './bars/mixed.js';
import { overloadBar } from './bars/overload.js';
import { doubtsText, scheduleMarkdown } from './schedule-report.js';

const bars: Readonly<Record<string, (context: BarContext) => Promise<BarResult>>> = {
  ceiling: ceilingBar,
  overload: overloadBar,
  attainment: attainmentBar,
  mixed: mixedBar,
  fairness: fairnessBar,
  late: lateBar,
};

interface Typed {
  readonly only: string;
  readonly reps: string;
  readonly duration: string;
  readonly warmup: string;
  readonly serverCpus: string;
  readonly loadCpus: string;
  readonly processes: string;
  readonly client: string;
  readonly serverFlags: string;
  readonly coordinatorFlags: string;
  readonly workerFlags: string;
  readonly lateUse: string;
  readonly fairUse: string;
  readonly maxOther: string;
  readonly quietLimit: string;
  readonly loadgen?: string;
  readonly json?: string;
}

const words = (text: string | undefined): readonly string[] => text?.split(' ').filter((word) => word !== '') ?? [];

const contextOf = (typed: Typed, folder: string): BarContext => ({
  folder,
  repetitions: parseCount('--reps', typed.reps, 1, 100),
  durationMs: parsePositiveDurationMs('--duration', typed.duration),
  warmupMs: parseDurationMs('--warmup', typed.warmup),
  serverCpus: parseCpus('--server-cpus', typed.serverCpus),
  loadCpus: parseCpus('--load-cpus', typed.loadCpus),
  processes: parseCount('--processes', typed.processes, 1, 64),
  client: oneOf('--client', typed.client, clientKinds),
  serverFlags: words(typed.serverFlags),
  coordinatorFlags: words(typed.coordinatorFlags),
  workerFlags: words(typed.workerFlags),
  lateUse: parseNumber('--late-use', typed.lateUse, 0.01, 10),
  fairUse: parseNumber('--fair-use', typed.fairUse, 0.01, 1),
  mostOthers: parseNumber('--max-other', typed.maxOther, 0, 1024),
  quietLimitMs: parseDurationMs('--quiet-limit', typed.quietLimit),
  loadgen: words(typed.loadgen),
  say: (line) => void process.stderr.write(`${line}\n`),
});

function barsOf(only: string): readonly string[] {
  const names = only.split(',');
  const strange = names.find((name) => !Object.hasOwn(bars, name));
  if (strange === undefined) return Object.keys(bars).filter((name) => names.includes(name));
  throw new ShoalError('BAD_SETTING', `--only wants some of ${Object.keys(bars).join(', ')}, and got "${only}".`);
}

const program = new Command('bench:schedule')
  .description('measure the bars of the scheduler and say which are met')
  .option('--only <bars>', `some of ${Object.keys(bars).join(', ')}`, Object.keys(bars).join(','))
  .option('--reps <n>', 'repetitions of every bar', '3')
  .option('--duration <time>', 'window of each measurement', '10s')
  .option('--warmup <time>', 'load before each window', '2s')
  .option('--server-cpus <list>', 'cores of the server, and of the bare loop while the server idles', '0')
  .option('--load-cpus <list>', 'cores of the harness', '1')
  .option('--processes <n>', 'load processes', '1')
  .option('--client <kind>', 'who makes the calls: http2 or grpc-js', 'http2')
  .option('--server-flags <words>', 'further words for `shoal up`', '')
  .option('--coordinator-flags <words>', 'further words for `shoal coordinator` (late)', '')
  .option('--worker-flags <words>', 'further words for `shoal worker` (late)', '')
  .option('--fair-use <share>', 'of capacity, what the ten equal callers ask for together (fairness)', '0.9')
  .option('--late-use <share>', 'how busy the two fast workers are kept, if each request were a batch (late)', '0.6')
  .option('--max-other <cores>', 'a measurement is disturbed when others use more than this', '0.05')
  .option('--quiet-limit <time>', 'longest wait for a quiet machine before each; 0 measures at once', '60s')
  .option('--loadgen <command>', 'another load generator for the ceiling, called as bench:serve calls it')
  .option('--json <file>', 'also write everything as JSON');

const typed = program.parse().opts<Typed>();
const folder = mkdtempSync(join(tmpdir(), 'shoal-bench-schedule-'));
try {
  const context = contextOf(typed, folder);
  const names = barsOf(typed.only);
  // This process only watches; it must not sit on the server's core.
  if (context.loadCpus !== '') spawnSync('taskset', ['-cp', context.loadCpus, String(process.pid)]);
  await generateBenchModels(join(folder, 'models'), ['big', 'seq']);
  const results: BarResult[] = [];
  for (const name of names) {
    const measure = bars[name];
    if (measure !== undefined) results.push(await measure(context));
  }
  const { repetitions, durationMs } = context;
  const result = { machine: thisMachine(), repetitions, durationMs, bars: results };
  if (typed.json !== undefined) writeFileSync(typed.json, `${JSON.stringify(result, undefined, 2)}\n`);
  process.stdout.write(scheduleMarkdown(result));
  process.stderr.write(doubtsText(result));
} catch (thrown) {
  const error = ShoalError.from(thrown);
  process.stderr.write(`bench:schedule: ${error.message} ${error.kind.advice}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
