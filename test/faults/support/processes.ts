import { readdirSync, readFileSync } from 'node:fs';

/** What the kernel says of a process, as in /proc/PID/status; undefined when there is none. */
function statusOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch (thrown) {
    // Gone, or going: both mean there is no such process.
    if (thrown instanceof Error && 'code' in thrown && (thrown.code === 'ENOENT' || thrown.code === 'ESRCH')) return;
    throw thrown;
  }
}

/** A process that still runs; one that has ended and waits to be reaped does not. */
export function isAlive(pid: number): boolean {
  const state = /^State:\s+(\S)/m.exec(statusOf(pid) ?? '')?.[1];
  return state !== undefined && state !== 'Z' && state !== 'X';
}

export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((child) => new RegExp(`^PPid:\\s+${pid}$`, 'm').test(statusOf(child) ?? '') && isAlive(child));
}

/** Resident memory in bytes; 0 when there is no such process. */
export const residentBytes = (pid: number): number =>
  1024 * Number(/^VmRSS:\s+(\d+)/m.exec(statusOf(pid) ?? '')?.[1] ?? 0);

/** Address space in bytes. */
export const addressSpaceBytes = (pid: number): number =>
  1024 * Number(/^VmSize:\s+(\d+)/m.exec(statusOf(pid) ?? '')?.[1] ?? 0);

export const openDescriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** Kills a process that may be going already. */
export function killIfThere(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (isAlive(pid)) process.kill(pid, signal);
}

/** Its arguments; empty when it has just ended. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch (thrown) {
    if (statusOf(pid) === undefined) return '';
    throw thrown;
  }
}
