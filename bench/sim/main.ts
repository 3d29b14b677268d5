/**
 * `npm run sim`: the real coordinator over simulated workers, in virtual time. Exit code 1 when a promise was broken.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { Command } from 'commander';
import { systemClock } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import { freshSeed } from '../../core/random.js';
import { countText } from '../number-text.js';
import { oneOf, parseCount, parseNumber } from '../options.js';
import { measureText } from './measure.js';
import { type Scenario, scenarios } from './scenarios.js';
import { simulate } from './simulation.js';
import { summaryText } from './summary.js';

interface Typed {
  readonly scenario: string;
  readonly seed?: string;
  readonly workers?: string;
  readonly models?: string;
  readonly seconds?: string;
  readonly trace?: string;
  readonly measure?: boolean;
  readonly requests: string;
}

const names = Object.keys(scenarios);

const notes = `
Scenarios:
${Object.entries(scenarios)
  .map(([name, { about }]) => `  ${name.padEnd(10)} ${about}`)
  .join('\n')}

Exit code: 0 when every promise was kept, 1 when one was broken; then the seed repeats the run.

Examples:
  npm run sim
  npm run sim -- --scenario faults --seed 7 --trace faults.txt
  npm run sim -- --scenario scale --seconds 5
  npm run sim -- --scenario fair --workers 4 --seconds 60
  npm run sim -- --scenario scale --measure`;

/** Lines of a trace are gathered before they are written. */
const bufferedLines = 4096;

function run(scenario: Scenario, typed: Typed): void {
  const { defaults } = scenario;
  const size = {
    workers: parseCount('--workers', typed.workers ?? String(defaults.workers), 1, 100_000),
    models: parseCount('--models', typed.models ?? String(defaults.models), 1, 100_000),
    seconds: parseNumber('--seconds', typed.seconds ?? String(defaults.seconds), 0.1, 86_400),
  };
  const seed = typed.seed === undefined ? freshSeed() : parseCount('--seed', typed.seed, 0, 2 ** 32 - 1);
  process.stdout.write(`seed ${seed}\n`);
  const file = typed.trace === undefined ? undefined : openSync(typed.trace, 'w');
  let lines: string[] = [];
  const flush = (): void => {
    if (file !== undefined && lines.length > 0) writeSync(file, `${lines.join('\n')}\n`);
    lines = [];
  };
  const traceLine = (line: string): void => {
    if (lines.push(line) >= bufferedLines) flush();
  };
  const startedMs = systemClock.nowMs();
  const result = simulate(scenario.plan(seed, size), file === undefined ? {} : { traceLine });
  const tookMs = systemClock.nowMs() - startedMs;
  flush();
  if (file !== undefined) closeSync(file);
  process.stdout.write(summaryText(result));
  const perS = countText((1000 * result.events) / tookMs);
  process.stdout.write(`took ${countText(tookMs / 1000)} s of real time, ${perS} events a second\n`);
  if (result.violation !== undefined) process.exitCode = 1;
}

const program = new Command('npm run sim --')
  .description('run the real coordinator over simulated workers in virtual time and check what it promises')
  .option('--scenario <name>', `one of ${names.join(', ')}`, 'mixed')
  .option('--seed <n>', 'what all chance comes from (default: a fresh one, which is printed)')
  .option('--workers <n>', 'how many workers')
  .option('--models <n>', 'how many models')
  .option('--seconds <n>', 'virtual seconds of load')
  .option('--trace <file>', 'write everything that happens to a file, a line each')
  .option('--measure', 'what scheduling costs: CPU a request at 4 and at 1,000 workers and models, bytes an idle model')
  .option('--requests <n>', 'requests of each run of --measure', '100000')
  .addHelpText('after', notes);

const typed = program.parse().opts<Typed>();
try {
  const name = oneOf('--scenario', typed.scenario, names);
  const scenario = scenarios[name];
  if (typed.measure) process.stdout.write(measureText(parseCount('--requests', typed.requests, 1000, 100_000_000)));
  else if (scenario !== undefined) run(scenario, typed);
} catch (thrown) {
  const error = ShoalError.from(thrown);
  const stack = error.code === 'INTERNAL' && thrown instanceof Error ? `\n${thrown.stack}` : '';
  process.stderr.write(`sim: ${error.message}${stack}\n`);
  process.exitCode = 1;
}
