import { expect, it } from 'vitest';
import { loadCycles } from '../endurance/load-cycles.js';
import { manyRequests } from '../endurance/many-requests.js';

const mib = 2 ** 20;
const hours = 3_600_000;
/** Short by default; `ENDURANCE_CYCLES=500 ENDURANCE_REQUESTS=1000000` is the long version, with its figures printed. */
const cycles = Number(process.env.ENDURANCE_CYCLES ?? 20);
const requests = Number(process.env.ENDURANCE_REQUESTS ?? 20_000);
const isLong = process.env.ENDURANCE_CYCLES !== undefined || process.env.ENDURANCE_REQUESTS !== undefined;
const figures = (report: object): void => {
  if (isLong) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
};

it(
  'loading and unloading leaves a worker as large as it was, and no executor',
  async () => {
    const report = await loadCycles(cycles, 10);
    figures(report);
    expect(report).toMatchObject({ ready: cycles, executorsLeft: 0, versionsLeft: 0, exitCode: 0 });
    expect(report.descriptors[1]).toBe(report.descriptors[0]);
    expect(report.lateBytes - report.earlyBytes).toBeLessThan(16 * mib);
  },
  2 * hours,
);

it(
  'requests leave coordinator, worker and executor as large as they were',
  async () => {
    const report = await manyRequests(requests);
    figures(report);
    expect(report.complaints).toEqual([]);
    expect(report.descriptors[1]).toBeLessThanOrEqual(report.descriptors[0]);
    expect(report.late.cluster - report.early.cluster).toBeLessThan(32 * mib);
    expect(report.late.executor - report.early.executor).toBeLessThan(8 * mib);
  },
  2 * hours,
);
