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

/** Waits until others use less than `mostOthers` cores, at most `limitMs`. False: still disturbed. */
export async function waitForQuiet(mostOthers: number, limitMs: number): Promise<boolean> {
  const endMs = systemClock.nowMs() + limitMs;
  for (;;) {
    const gauge = new OthersGauge();
    await pause(lookMs);
    if (gauge.read() < mostOthers) return true;
    if (systemClock.nowMs() >= endMs) return false;
    await pause(retryMs);
  }
}
