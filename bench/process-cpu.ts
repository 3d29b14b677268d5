import { readdirSync, readFileSync } from 'node:fs';
import { ShoalError } from '../core/errors.js';

/** Linux reports process times in hundredths of a second on every architecture (USER_HZ). */
const usPerTick = 10_000;

/** Whose CPU time to report: `tree` takes in all descendants, grouped by the name each process gives itself. */
export interface CpuWatch {
  readonly name: string;
  readonly pids: readonly number[];
  readonly tree: boolean;
}

interface ProcessTimes {
  readonly comm: string;
  readonly parent: number;
  readonly cpuUs: number;
  /** Of children that have ended and were waited for, theirs included. */
  readonly endedChildrenCpuUs: number;
}

/** One line of /proc/PID/stat. The name stands in parentheses and may itself hold any character. */
export function parseProcStat(line: string): ProcessTimes {
  const nameEnd = line.lastIndexOf(')');
  const fields = line.slice(nameEnd + 2).split(' ');
  return {
    comm: line.slice(line.indexOf('(') + 1, nameEnd).trim(),
    parent: Number(fields[1]),
    cpuUs: (Number(fields[11]) + Number(fields[12])) * usPerTick,
    endedChildrenCpuUs: (Number(fields[13]) + Number(fields[14])) * usPerTick,
  };
}

function times(pid: number): ProcessTimes | undefined {
  try {
    return parseProcStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined; // the process is gone
  }
}

/** `pid` and its living descendants. */
export function processTree(pid: number): readonly number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    const child = Number(entry);
    if (!Number.isInteger(child)) continue;
    const parent = times(child)?.parent;
    if (parent === undefined) continue;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [child]);
    else siblings.push(child);
  }
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) tree.push(...(children.get(tree[i] ?? 0) ?? []));
  return tree;
}

/** CPU microseconds that a process and all it ever started, living or ended, have used. */
export const treeCpuUs = (pid: number): number =>
  processTree(pid).reduce((sum, one) => {
    const seen = times(one);
    return seen === undefined ? sum : sum + seen.cpuUs + seen.endedChildrenCpuUs;
  }, 0);

/** CPU microseconds per process, at one moment. */
export type CpuSample = ReadonlyMap<string, ReadonlyMap<number, number>>;

/**
 * @throws BAD_SETTING when a watched process does not exist
 */
export function sampleCpu(watches: readonly CpuWatch[]): CpuSample {
  const groups = new Map<string, Map<number, number>>();
  const put = (name: string, pid: number, cpuUs: number): void => {
    const group = groups.get(name) ?? new Map<number, number>();
    groups.set(name, group.set(pid, cpuUs));
  };
  for (const watch of watches) {
    for (const root of watch.pids) {
      if (times(root) === undefined) {
        throw new ShoalError('BAD_SETTING', `--cpu-of ${watch.name}: there is no process ${root} on this machine.`);
      }
      for (const pid of watch.tree ? processTree(root) : [root]) {
        const seen = times(pid);
        if (seen === undefined) continue;
        put(pid === root || !watch.tree ? watch.name : `${watch.name}/${seen.comm}`, pid, seen.cpuUs);
      }
    }
  }
  return groups;
}

/** CPU microseconds per name between two samples. A process that came in between counts from its birth. */
export function cpuBetween(before: CpuSample, after: CpuSample): Readonly<Record<string, number>> {
  const spent: Record<string, number> = {};
  for (const [name, group] of after) {
    let sum = 0;
    for (const [pid, cpuUs] of group) sum += cpuUs - (before.get(name)?.get(pid) ?? 0);
    spent[name] = sum;
  }
  return spent;
}

/**
 * `name=PID[,PID]…` names processes; a `+` at the end takes in their descendants.
 * @throws BAD_SETTING
 */
export function parseCpuWatch(text: string): CpuWatch {
  const match = /^([^=]+)=(\d+(?:,\d+)*)(\+?)$/.exec(text);
  if (match === null) {
    throw new ShoalError('BAD_SETTING', `--cpu-of wants name=PID[,PID]… (PID+ for a whole tree), and got "${text}".`);
  }
  return { name: match[1] ?? '', pids: (match[2] ?? '').split(',').map(Number), tree: match[3] === '+' };
}
