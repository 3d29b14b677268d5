import { ShoalError } from '../core/errors.js';
import { parseCaller, parseCount, parseNumber } from './options.js';
import type { Load, LoadGroup } from './plan.js';

const keys = ['rate', 'concurrency', 'deadline-ms', 'caller', 'callers'] as const;
type Key = (typeof keys)[number];

const isKey = (text: string): text is Key => keys.some((key) => key === text);

function refuse(text: string, why: string): never {
  throw new ShoalError('BAD_SETTING', `--group ${text}: ${why}`);
}

/** What a group that says nothing of it has. */
export type GroupDefaults = Pick<LoadGroup, 'deadlineMs' | 'callers'>;

/**
 * A group as it is typed: `NAME,rate=100` or `NAME,concurrency=8`, then `deadline-ms=50`, `caller=WHO`, or `callers=9`
 * for WHO-1 to WHO-9, WHO being the group's name where no caller is given.
 * @throws BAD_SETTING
 */
export function parseGroup(text: string, defaults: GroupDefaults): LoadGroup {
  const [name = '', ...parts] = text.split(',');
  if (!/^[\w.-]+$/.test(name)) refuse(text, 'it begins with a name of letters, digits, points and dashes.');
  const said = new Map<Key, string>();
  for (const part of parts) {
    const at = part.indexOf('=');
    const key = part.slice(0, Math.max(0, at));
    if (!isKey(key)) refuse(text, `"${part}" is none of ${keys.map((one) => `${one}=…`).join(', ')}.`);
    if (said.has(key)) refuse(text, `${key} is there twice.`);
    said.set(key, part.slice(at + 1));
  }
  const deadline = said.get('deadline-ms');
  return {
    name,
    load: loadOf(text, said.get('rate'), said.get('concurrency')),
    deadlineMs:
      deadline === undefined ? defaults.deadlineMs : parseNumber('deadline-ms of --group', deadline, 0.001, 1e9),
    callers: callersOf(said.get('caller'), said.get('callers'), name) ?? defaults.callers,
  };
}

function loadOf(text: string, rate: string | undefined, concurrency: string | undefined): Load {
  if (rate !== undefined && concurrency === undefined) {
    return { kind: 'open', ratePerS: parseNumber('rate of --group', rate, 0.001, 10_000_000) };
  }
  if (rate === undefined && concurrency !== undefined) {
    return { kind: 'closed', concurrency: parseCount('concurrency of --group', concurrency) };
  }
  return refuse(text, 'it wants either rate=… (open loop) or concurrency=… (closed loop).');
}

function callersOf(
  caller: string | undefined,
  callers: string | undefined,
  name: string,
): readonly string[] | undefined {
  if (callers === undefined) return caller === undefined ? undefined : [parseCaller(caller)];
  const stem = parseCaller(caller ?? name);
  return Array.from({ length: parseCount('callers of --group', callers, 1, 10_000) }, (_, i) => `${stem}-${i + 1}`);
}

/** @throws BAD_SETTING for a name that is there twice */
export function parseGroups(texts: readonly string[], defaults: GroupDefaults): readonly LoadGroup[] {
  const groups = texts.map((text) => parseGroup(text, defaults));
  groups.forEach(({ name }, i) => {
    if (groups.findIndex((other) => other.name === name) < i) refuse(texts[i] ?? name, 'another has the same name.');
  });
  return groups;
}
