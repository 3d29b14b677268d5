import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { generateBenchModels } from '../../bench/models/generate.js';
import { median } from './median.js';

export interface CyclesReport {
  readonly cycles: number;
  /** Cycles at whose height the version was ready. */
  readonly ready: number;
  /** Median resident bytes of the worker's process over the first and the last cycles: a tenth of them, 5 to 50. */
  readonly earlyBytes: number;
  readonly lateBytes: number;
  /** Most that there was at the end of any cycle. */
  readonly executorsLeft: number;
  readonly versionsLeft: number;
  /** Open descriptors at the end of the first and of the last cycle. */
  readonly descriptors: readonly [number, number];
  readonly exitCode: number | null;
}

/** What the worker's process says at the end of a cycle. */
interface Cycle {
  readonly state: string;
  readonly rss: number;
  readonly descriptors: number;
  /** Process ids, separated by spaces. */
  readonly children: string;
  readonly versions: number;
}

/** Loads and unloads `tiny` so many times in one worker process. The first `warmUp` cycles are not looked at. */
export async function loadCycles(cycles: number, warmUp: number): Promise<CyclesReport> {
  const folder = mkdtempSync(path.join(tmpdir(), 'shoal-cycles-'));
  const empty = mkdtempSync(path.join(tmpdir(), 'shoal-empty-'));
  await generateBenchModels(folder, ['tiny']);
  const script = path.join(import.meta.dirname, 'cycling-worker.mjs');
  const child = spawn(process.execPath, [script, folder, empty, String(warmUp + cycles)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const said: Cycle[] = [];
  for await (const line of createInterface({ input: child.stdout })) said.push(JSON.parse(line));
  const exitCode = await ended;
  for (const dir of [folder, empty]) rmSync(dir, { recursive: true });
  const counted = said.slice(warmUp);
  const rss = counted.map((cycle) => cycle.rss);
  const part = Math.min(50, Math.max(5, Math.floor(cycles / 10)));
  return {
    cycles,
    ready: counted.filter(({ state }) => state === 'ready').length,
    earlyBytes: median(rss.slice(0, part)),
    lateBytes: median(rss.slice(-part)),
    executorsLeft: Math.max(...counted.map(({ children }) => (children === '' ? 0 : children.split(' ').length))),
    versionsLeft: Math.max(...counted.map(({ versions }) => versions)),
    descriptors: [counted[0]?.descriptors ?? 0, counted.at(-1)?.descriptors ?? 0],
    exitCode,
  };
}
