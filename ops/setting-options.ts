import path from 'node:path';
import { type Command, Option } from 'commander';
import { packageRoot } from '../platform/package-root.js';
import { resolveSettings, type SettingSources } from '../platform/settings/resolve.js';
import { type Settings, settingNames, settingSchema } from '../platform/settings/schema.js';
import type { Role, Setting } from '../platform/settings/setting.js';
import { gatherSources } from '../platform/settings/sources.js';

export const bundledModels = path.join(packageRoot, 'examples', 'models');

/** Gives a command a flag for every setting of its role, and `--config`. */
export function addSettingOptions(command: Command, role: Role): Command {
  command.addOption(
    new Option('--config <FILE>', 'YAML file of settings [SHOAL_CONFIG, or ./shoal.yaml if there is one]'),
  );
  for (const name of settingNames) {
    const setting: Setting<unknown> = settingSchema[name];
    if (!setting.roles.includes(role)) continue;
    const description = `${setting.description.replace(/\.$/, '')} [${setting.defaultText(role)}]`;
    command.addOption(new Option(`--${setting.flag} <${setting.placeholder}>`, description));
  }
  return command;
}

/** The sources of settings for a command that has been parsed. */
export function sourcesOf(command: Command, role: Role): SettingSources {
  const options: Readonly<Record<string, unknown>> = command.opts();
  const flags: Record<string, string> = {};
  for (const name of settingNames) {
    const value = settingSchema[name].roles.includes(role) ? options[name] : undefined;
    if (typeof value === 'string' && command.getOptionValueSource(name) === 'cli')
      flags[settingSchema[name].flag] = value;
  }
  const config = typeof options.config === 'string' ? options.config : undefined;
  return gatherSources({ role, flags, config, bundledModels });
}

/** @throws BAD_SETTING */
export const settingsOf = (command: Command, role: Role): Settings => resolveSettings(sourcesOf(command, role));
