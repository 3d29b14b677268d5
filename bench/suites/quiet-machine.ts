import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../../core/clock.js';
import { treeCpuUs } from '../process-cpu.js';

const usPerTick = 10_000;
const lookMs = 1_500;
const retryMs = 2_000;

/** Microseconds of work on all cores since start-up, from the first line of /proc/stat; waiting and stolen time left out. */
export function parseBusyUs(procStat: string): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (procStat.split('\n')[0] ?? '')
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq) * usPerTick;
}

/** Work done by anybody but this process and those it started. */
export class OthersGauge {
  #startedMs = systemClock.nowMs();
  #othersUs = OthersGauge.#othersNowUs();

  static #othersNowUs(): number {
    return parseBusyUs(readFileSync('/proc/stat', 'latin1')) - treeCpuUs(process.pid);
  }

  /** CPU seconds per second that others used since this gauge was made; 1 is one whole core. */
  read(): number {
    const elapsedUs = (systemClock.nowMs() - this.#startedMs) * 1000;
    return Math.max(0, (OthersGauge.#othersNowUs() - this.#othersUs) / elapsedUs);
  }
}

/** Waits until others use less than `mostOthers` cores, at most `limitMs`, 0: not at all. False: not known to be quiet. */
export async function waitForQuiet(mostOthers: number, limitMs: number): Promise<boolean> {
  if (limitMs === 0) return false;
  const endMs = systemClock.nowMs() + limitMs;
  for (;;) {
    const gauge = new OthersGauge();
    await pause(lookMs);
    if (gauge.read() < mostOthers) return true;
    if (systemClock.nowMs() >= endMs) return false;
    await pause(retryMs);
  }
}

export interface QuietLimits {
  /** Cores' worth of work by others above which a measurement counts as disturbed. */
  readonly mostOthers: number;
  /** Longest wait for a quiet machine before each. */
  readonly quietLimitMs: number;
}

/** A disturbed measurement is made again this often before it is kept and flagged. */
const attempts = 3;

/** Measures while others leave the machine alone, as far as they do. */
export async function undisturbed<T>(
  { mostOthers, quietLimitMs }: QuietLimits,
  measure: () => Promise<T>,
): Promise<{ readonly measured: T; readonly disturbed: boolean }> {
  for (let attempt = 1; ; attempt++) {
    await waitForQuiet(mostOthers, quietLimitMs);
    const others = new OthersGauge();
    const measured = await measure();
    const disturbed = others.read() > mostOthers;
    // Who does not wait for quiet does not want to measure again for the want of it either.
    if (!disturbed || attempt === attempts || quietLimitMs === 0) return { measured, disturbed };
  }
}
