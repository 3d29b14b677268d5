import { type Command, Option } from 'commander';
import { stringify } from 'yaml';
import { inspectSettings, type Resolution, type ResolvedSetting } from '../../platform/settings/resolve.js';
import type { Role } from '../../platform/settings/setting.js';
import { ExitCode } from '../failure.js';
import { sourcesOf } from '../setting-options.js';
import { columns } from '../terminal/table.js';

const notes = `
The yaml output can be used as a settings file. Exit code 2 when a setting is bad; the others are still printed.

Examples:
  shoal config
  shoal config --for worker
  SHOAL_GRPC_PORT=9001 shoal config --config shoal.yaml --output json`;

interface ConfigOptions {
  readonly for: Role;
  readonly output: 'table' | 'json' | 'yaml';
}

export function registerConfig(program: Command): void {
  const command = program
    .command('config')
    .summary('print every setting and where it comes from')
    .description(
      'Prints the effective value of every setting and where it comes from: flag, variable, file or default.',
    )
    .option('--config <FILE>', 'YAML file of settings [SHOAL_CONFIG, or ./shoal.yaml if there is one]')
    .addOption(
      new Option('--for <COMMAND>', 'the command whose defaults count')
        .choices(['up', 'coordinator', 'worker', 'client'])
        .default('up'),
    )
    .addOption(new Option('--output <FORMAT>', 'how to print').choices(['table', 'json', 'yaml']).default('table'))
    .addHelpText('after', notes)
    .action((options: ConfigOptions) => {
      const resolution = inspectSettings(sourcesOf(command, options.for));
      process.stdout.write(configText(resolution, options.output, options.for));
      for (const problem of resolution.problems) process.stderr.write(`shoal: ${problem}\n`);
      if (resolution.problems.length > 0) process.exitCode = ExitCode.USAGE;
    });
}

export function configText({ settings }: Resolution, output: ConfigOptions['output'], role: Role): string {
  const used = settings.filter(({ setting }) => setting.roles.includes(role));
  switch (output) {
    case 'json':
      return `${JSON.stringify(Object.fromEntries(used.map(jsonEntry)), undefined, 2)}\n`;
    case 'yaml':
      return stringify(Object.fromEntries(used.map(({ setting, value }) => [setting.flag, value])));
    case 'table':
      return `${columns(['setting', 'value', 'from'], used.map(tableRow))}\n`;
  }
}

function jsonEntry({ setting, value, origin, problem }: ResolvedSetting): [string, unknown] {
  return [setting.flag, { value, origin, ...(problem === undefined ? {} : { problem }) }];
}

function tableRow({ setting, value, origin, problem }: ResolvedSetting): string[] {
  if (problem !== undefined) return [setting.flag, String(value), `${origin}  BAD: ${problem}`];
  return [setting.flag, setting.show(value) || '-', origin];
}
