import { Command, Help, type OutputConfiguration } from 'commander';
import { registerBench } from '../bench/command.js';
import { softwareVersion } from '../platform/software-version.js';
import { registerConfig } from './commands/config.js';
import { registerCoordinator } from './commands/coordinator.js';
import { registerInfer } from './commands/infer.js';
import { registerModel } from './commands/model.js';
import { registerModels } from './commands/models.js';
import { registerPlan } from './commands/plan.js';
import { registerUp } from './commands/up.js';
import { registerWorker } from './commands/worker.js';
import { registerWorkers } from './commands/workers.js';
import type { StartCluster, StartWorker } from './running-cluster.js';
import { settingsOf } from './setting-options.js';

const notes = `
Examples:
  shoal up                                                     serve the bundled examples on this machine
  shoal infer mnist --input examples/inputs/mnist/five.png     which digit is it?
  shoal models                                                 what is served, and what is not and why
  shoal model explain magika                                   why its batches are as they are
  shoal bench magika --concurrency 1,8,64                      how fast is it?
  shoal plan --trace d.jsonl --profile p.json --slo 'p99<1s'   how many workers does it take?
  shoal coordinator; shoal worker --join HOST:8001             the same by hand, on several machines
  shoal config                                                 every setting and where it comes from

Settings come from flags, SHOAL_* variables, a YAML file and defaults, in this order: see docs/SETTINGS.md.
Exit codes: 0 well, 1 failed, 2 mistyped command or bad setting, 3 measured but not to be believed (bench),
130 stopped with Ctrl-C.
SHOAL_DEBUG=1 adds the stack to an error.`;

/** Columns of help when it is not written to a terminal. */
const helpColumns = 110;

/** How to start what `up`, `coordinator` and `worker` run. */
export interface Services {
  readonly startCluster: StartCluster;
  readonly startCoordinatorAlone: StartCluster;
  readonly startWorkerAlone: StartWorker;
}

/**
 * The whole command line. Failures of commands reject `parseAsync`; the caller prints them.
 * `output` says where help goes and how wide it is, where it should not be this process's terminal.
 */
export function buildProgram(services: Services, output: OutputConfiguration = {}): Command {
  const program = new Command('shoal')
    .description('An inference cluster for ONNX models that speaks the Open Inference Protocol.')
    .version(softwareVersion, '--version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [COMMAND]', 'show help of a command')
    .enablePositionalOptions()
    .configureHelp({
      optionDescription(option) {
        const { defaultValue } = option;
        const isNothing = defaultValue === '' || defaultValue === false || Array.isArray(defaultValue);
        return isNothing ? option.description : Help.prototype.optionDescription.call(this, option);
      },
    })
    .addHelpText('after', notes);
  settle(program, output);
  registerUp(program, services.startCluster);
  registerCoordinator(program, services.startCoordinatorAlone);
  registerWorker(program, services.startWorkerAlone);
  registerInfer(program);
  registerModels(program);
  registerModel(program);
  registerWorkers(program);
  addBench(program);
  registerPlan(program);
  registerConfig(program);
  return program;
}

/** Must come before commands are added, which take these over. */
function settle(program: Command, output: OutputConfiguration): void {
  program.exitOverride().configureOutput({
    getOutHelpWidth: () => process.stdout.columns ?? helpColumns,
    getErrHelpWidth: () => process.stderr.columns ?? helpColumns,
    outputError: (text, write) => write(`${usageLine(text)}\n`),
    ...output,
  });
}

/** The harness stands on its own: what it shares with the other commands is put on from outside. */
function addBench(program: Command): void {
  registerBench(program);
  const bench = program.commands.find((command) => command.name() === 'bench');
  if (bench === undefined) return;
  bench.summary('measure a server: throughput, latency, share of the ceiling');
  const models = bench.options.find((option) => option.long === '--models');
  if (models !== undefined) models.defaultValueDescription = 'the bundled examples';
  bench.hook('preAction', (_, command) => {
    const isOwn = command.getOptionValueSource('server') === 'cli';
    if (!isOwn) command.setOptionValue('server', settingsOf(command, 'client').server);
  });
}

/** Commander's complaint in our one line. */
export function usageLine(text: string): string {
  const plain = text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ');
  const sentence = plain.charAt(0).toUpperCase() + plain.slice(1);
  return `shoal: ${sentence}${/[.?)!]$/.test(sentence) ? '' : '.'} See \`shoal --help\`.`;
}
