import { Command } from 'commander';
import { registerBench } from '../bench/command.js';
import { softwareVersion } from '../platform/software-version.js';
import { registerConfig } from './commands/config.js';
import { registerCoordinator } from './commands/coordinator.js';
import { registerInfer } from './commands/infer.js';
import { registerModels } from './commands/models.js';
import { registerUp } from './commands/up.js';
import { registerWorker } from './commands/worker.js';
import { registerWorkers } from './commands/workers.js';
import type { StartCluster, StartWorker } from './running-cluster.js';

const notes = `
Examples:
  shoal up                                                     serve the bundled examples on this machine
  shoal infer mnist --input examples/inputs/mnist/five.png     which digit is it?
  shoal models                                                 what is served, and what is not and why
  shoal coordinator; shoal worker --join HOST:8001             the same by hand, on several machines
  shoal config                                                 every setting and where it comes from

Settings come from flags, SHOAL_* variables, a YAML file and defaults, in this order: see docs/SETTINGS.md.
Exit codes: 0 well, 1 failed, 2 mistyped command or bad setting, 3 a benchmark that is not valid,
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

/** The whole command line. Failures of commands reject `parseAsync`; the caller prints them. */
export function buildProgram(services: Services): Command {
  const program = new Command('shoal')
    .description('An inference cluster for ONNX models that speaks the Open Inference Protocol.')
    .version(softwareVersion, '--version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [COMMAND]', 'show help of a command')
    .enablePositionalOptions()
    .configureHelp({ showGlobalOptions: false })
    .addHelpText('after', notes);
  settle(program);
  registerUp(program, services.startCluster);
  registerCoordinator(program, services.startCoordinatorAlone);
  registerWorker(program, services.startWorkerAlone);
  registerInfer(program);
  registerModels(program);
  registerWorkers(program);
  registerBench(program);
  registerConfig(program);
  return program;
}

/** Must come before commands are added, which take these over. */
function settle(program: Command): void {
  program.exitOverride().configureOutput({
    getOutHelpWidth: () => process.stdout.columns ?? helpColumns,
    getErrHelpWidth: () => process.stderr.columns ?? helpColumns,
    outputError: (text, write) => write(`${usageLine(text)}\n`),
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
