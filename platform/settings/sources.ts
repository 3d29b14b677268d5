import { existsSync, readFileSync } from 'node:fs';
import { hostname, networkInterfaces, tmpdir } from 'node:os';
import path from 'node:path';
import { ShoalError } from '../../core/errors.js';
import type { SettingSources, SettingsFile } from './resolve.js';
import type { Role, SettingFacts } from './setting.js';

export const defaultSettingsFile = 'shoal.yaml';

function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outside = addresses.filter((entry) => !entry.internal && !entry.address.startsWith('fe80:'));
  const chosen = outside.find((entry) => entry.family === 'IPv4') ?? outside[0];
  return chosen?.address ?? '127.0.0.1';
}

/** What this process and machine contribute to the defaults. */
export function gatherFacts(role: Role, bundledModels: string): SettingFacts {
  const hostName = hostname().replace(/[^A-Za-z0-9._-]/g, '-') || 'localhost';
  return {
    role,
    workingFolder: process.cwd(),
    bundledModels,
    hostName,
    address: ownAddress(),
    pid: process.pid,
    memoryFolder: existsSync('/dev/shm') ? '/dev/shm' : tmpdir(),
  };
}

/**
 * The settings file: `--config`, else `SHOAL_CONFIG`, else shoal.yaml in the working folder when there is one.
 * @throws BAD_SETTING when a file that was asked for cannot be read.
 */
export function findSettingsFile(
  configFlag: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
  workingFolder: string,
): SettingsFile | undefined {
  const named = configFlag ?? (environment.SHOAL_CONFIG || undefined);
  const label = named ?? defaultSettingsFile;
  const file = path.resolve(workingFolder, label);
  try {
    return { path: file, label, text: readFileSync(file, 'utf8') };
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code ?? '';
    if (named === undefined && code === 'ENOENT') return undefined;
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder' : `cannot be read (${code})`;
    const origin = configFlag !== undefined ? '--config' : named !== undefined ? 'SHOAL_CONFIG' : 'found by itself';
    throw new ShoalError('BAD_SETTING', `The settings file ${label} (${origin}) ${why}.`, { cause: thrown });
  }
}

/**
 * Everything a process is told, gathered.
 * @throws BAD_SETTING when the settings file cannot be read.
 */
export function gatherSources(options: {
  readonly role: Role;
  readonly flags: Readonly<Record<string, string>>;
  readonly config: string | undefined;
  readonly bundledModels: string;
}): SettingSources {
  const facts = gatherFacts(options.role, options.bundledModels);
  return {
    flags: options.flags,
    environment: process.env,
    file: findSettingsFile(options.config, process.env, facts.workingFolder),
    facts,
  };
}
