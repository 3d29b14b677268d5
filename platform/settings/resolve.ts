import path from 'node:path';
import { ShoalError } from '../../core/errors.js';
import { suggestion } from './closest-name.js';
import { type SettingName, type Settings, settingNames, settingSchema } from './schema.js';
import type { Setting, SettingFacts } from './setting.js';
import { readYaml } from './yaml-source.js';

/** A settings file as found: `named` when somebody asked for it by flag or variable. */
export interface SettingsFile {
  readonly path: string;
  /** How it is called in messages: as it was written. */
  readonly label: string;
  readonly text: string;
}

/** Where settings come from, strongest first. */
export interface SettingSources {
  /** By flag name without dashes. */
  readonly flags: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file: SettingsFile | undefined;
  readonly facts: SettingFacts;
}

export interface ResolvedSetting {
  readonly name: SettingName;
  readonly setting: Setting<unknown>;
  readonly value: unknown;
  /** `--grpc-port`, `SHOAL_GRPC_PORT`, `shoal.yaml:3` or `default`. */
  readonly origin: string;
  /** Why the value cannot be used; it then stands as it was written. */
  readonly problem: string | undefined;
}

export interface Resolution {
  readonly settings: readonly ResolvedSetting[];
  /** Whole sentences, the first to be mended first. Empty when all is well. */
  readonly problems: readonly string[];
}

/** Variables that start with SHOAL_ and are not settings. */
export const otherVariables = ['SHOAL_CONFIG', 'SHOAL_DEBUG'];

/**
 * Kubernetes gives every container variables for each Service of its namespace; a Service called `shoal`
 * or `shoal-grpc` makes names that look like ours. They are not settings.
 * https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
export const isServiceLink = (name: string, value: string): boolean =>
  /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name) ||
  (name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value));

const byFlag = new Map<string, SettingName>(settingNames.map((name) => [settingSchema[name].flag, name]));
const byVariable = new Map<string, SettingName>(settingNames.map((name) => [settingSchema[name].variable, name]));

interface Written {
  readonly value: unknown;
  readonly origin: string;
  readonly folder: string;
}

/** A value as a person would recognise it, short enough for one line. */
function quoted(value: unknown): string {
  const text = typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? String(value));
  const oneLine = text.replace(/\p{Cc}+/gu, ' ');
  return oneLine.length > 80 ? `${oneLine.slice(0, 77)}...` : oneLine;
}

function collect(sources: SettingSources, problems: string[]): Map<SettingName, Written> {
  const written = new Map<SettingName, Written>();
  const here = sources.facts.workingFolder;
  if (sources.file !== undefined) {
    const content = readYaml(sources.file.text, sources.file.label);
    const folder = path.dirname(path.resolve(here, sources.file.path));
    if (!content.ok) problems.push(`The settings file ${content.problem.origin} ${content.problem.message}.`);
    for (const entry of content.ok ? content.entries : []) {
      const name = byFlag.get(entry.key);
      if (name === undefined) {
        problems.push(`Unknown setting ${quoted(entry.key)} at ${entry.origin}${suggestion(entry.key, byFlag.keys())}`);
      } else if (entry.value !== null) {
        written.set(name, { value: entry.value, origin: entry.origin, folder });
      }
    }
  }
  for (const [variable, value] of Object.entries(sources.environment)) {
    if (!variable.startsWith('SHOAL_') || value === undefined || value === '') continue;
    if (otherVariables.includes(variable) || isServiceLink(variable, value)) continue;
    const name = byVariable.get(variable);
    if (name === undefined) {
      const known = [...byVariable.keys(), ...otherVariables];
      problems.push(`Unknown variable ${variable} in the environment${suggestion(variable, known)}`);
    } else {
      written.set(name, { value, origin: variable, folder: here });
    }
  }
  for (const [flag, value] of Object.entries(sources.flags)) {
    const name = byFlag.get(flag);
    if (name !== undefined) written.set(name, { value, origin: `--${flag}`, folder: here });
  }
  return written;
}

function portProblems(settings: readonly ResolvedSetting[], facts: SettingFacts): string[] {
  if (facts.role === 'client') return [];
  const problems: string[] = [];
  const taken = new Map<unknown, ResolvedSetting>();
  for (const resolved of settings) {
    if (!resolved.name.endsWith('Port') || resolved.problem !== undefined || resolved.value === 0) continue;
    if (!resolved.setting.roles.includes(facts.role)) continue;
    const other = taken.get(resolved.value);
    if (other === undefined) taken.set(resolved.value, resolved);
    else {
      problems.push(
        `The settings ${other.setting.flag} (${other.origin}) and ${resolved.setting.flag} (${resolved.origin}) ` +
          `are both ${String(resolved.value)}; expected different ports`,
      );
    }
  }
  return problems;
}

/** A worker that listens on one address only can be reached on no other. */
function factsBehindHost(facts: SettingFacts, written: ReadonlyMap<SettingName, Written>): SettingFacts {
  const host = written.get('host')?.value;
  const anywhere = typeof host !== 'string' || ['0.0.0.0', '::', '[::]', ''].includes(host.trim());
  return anywhere ? facts : { ...facts, address: host.trim() };
}

/** Finds every setting's value and origin, and everything that is wrong with what was written. */
export function inspectSettings(sources: SettingSources): Resolution {
  const problems: string[] = [];
  const written = collect(sources, problems);
  const facts = factsBehindHost(sources.facts, written);
  const settings = settingNames.map((name): ResolvedSetting => {
    const setting: Setting<unknown> = settingSchema[name];
    const found = written.get(name);
    if (found === undefined) {
      return { name, setting, value: setting.compiledDefault(facts), origin: 'default', problem: undefined };
    }
    const compiled = setting.compile(found.value, found.folder);
    if (compiled !== undefined) {
      return { name, setting, value: compiled.value, origin: found.origin, problem: undefined };
    }
    const problem = `expected ${setting.expected}`;
    problems.push(`The setting ${setting.flag} is ${quoted(found.value)} (from ${found.origin}); ${problem}`);
    return { name, setting, value: found.value, origin: found.origin, problem };
  });
  problems.push(...portProblems(settings, facts));
  return {
    settings,
    problems: problems.map((problem) => (problem.endsWith('.') || problem.endsWith('?') ? problem : `${problem}.`)),
  };
}

/** @throws BAD_SETTING with the first problem, and how many more there are. */
export function resolveSettings(sources: SettingSources): Settings {
  const { settings, problems } = inspectSettings(sources);
  const first = problems[0];
  if (first !== undefined) {
    const more =
      problems.length > 1
        ? ` (${problems.length - 1} more problem${problems.length > 2 ? 's' : ''} after this one.)`
        : '';
    throw new ShoalError('BAD_SETTING', first + more);
  }
  return Object.freeze(Object.fromEntries(settings.map(({ name, value }) => [name, value]))) as unknown as Settings;
}
