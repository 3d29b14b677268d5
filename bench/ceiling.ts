import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isErrorCode, ShoalError } from '../core/errors.js';
import { newestFirst } from '../core/model.js';
import type { CeilingJob, CeilingSample, FromCeilingProcess } from './ceiling-messages.js';
import { forkChild } from './child-process.js';
import { LatencyHistogram, type LatencySummary } from './latency-histogram.js';
import { type Spread, spread } from './spread.js';

/** The bare loop at one batch size over all runs. */
export interface CeilingPoint {
  readonly batch: number;
  readonly rowsPerS: Spread;
  /** One call, microseconds; all runs together. */
  readonly callUs: LatencySummary;
}

export interface Ceiling {
  readonly modelFile: string;
  readonly intraOpThreads: number;
  readonly points: readonly CeilingPoint[];
  /** The batch size with the highest median of rows per second. */
  readonly best: CeilingPoint;
}

/** 1, 2, 4, … up to and including `most`, which is added when it is no power of two. */
export function batchSizes(most: number): readonly number[] {
  const sizes: number[] = [];
  for (let size = 1; size < most; size *= 2) sizes.push(size);
  return [...sizes, most];
}

/**
 * Where `model` lies in a repository folder: `FOLDER/MODEL/VERSION/model.onnx`, the newest version when none is named.
 * @throws BAD_SETTING
 */
export function findModelFile(repository: string, model: string, version: string): string {
  const folder = join(repository, model);
  const versions = existsSync(folder) ? readdirSync(folder).filter((name) => /^[1-9]\d*$/.test(name)) : [];
  const chosen = version === '' ? versions.sort(newestFirst)[0] : version;
  const file = join(folder, chosen ?? '1', 'model.onnx');
  if (!existsSync(file)) {
    throw new ShoalError('BAD_SETTING', `--ceiling found no model file at ${file}; name it: --ceiling MODEL_FILE.`);
  }
  return file;
}

/**
 * Runs the bare loop once, at every batch size, in a process of its own.
 * @param stop aborted: gives up and returns the sizes measured so far
 * @throws MODEL_UNLOADABLE
 */
export async function runCeiling(job: CeilingJob, cpus: string, stop: AbortSignal): Promise<readonly CeilingSample[]> {
  const child = forkChild<CeilingJob, FromCeilingProcess>('ceiling-process', cpus);
  const samples: CeilingSample[] = [];
  let aborted: () => void = () => undefined;
  const givenUp = new Promise<true>((resolve) => {
    aborted = () => resolve(true);
    if (stop.aborted) aborted();
    else stop.addEventListener('abort', aborted);
  });
  try {
    child.send(job);
    const finished = child.until((message): true | undefined => {
      if (message.kind === 'failed') {
        throw new ShoalError(isErrorCode(message.code) ? message.code : 'INTERNAL', message.message);
      }
      if (message.kind === 'sample') samples.push(message.sample);
      return message.kind === 'done' ? true : undefined;
    });
    await Promise.race([finished, givenUp]);
    return samples;
  } finally {
    stop.removeEventListener('abort', aborted);
    child.kill();
  }
}

/** The samples of all runs as one; undefined when there are none. */
export function combineCeiling(
  { modelFile, intraOpThreads }: Pick<CeilingJob, 'modelFile' | 'intraOpThreads'>,
  samples: readonly CeilingSample[],
): Ceiling | undefined {
  const sizes = [...new Set(samples.map((sample) => sample.batch))].sort((a, b) => a - b);
  const points = sizes.map((batch): CeilingPoint => {
    const same = samples.filter((sample) => sample.batch === batch);
    const calls = new LatencyHistogram();
    for (const { call } of same) calls.merge(call);
    return { batch, rowsPerS: spread(same.map((sample) => sample.rowsPerS)), callUs: calls.summary() };
  });
  const best = points.toSorted((a, b) => b.rowsPerS.median - a.rowsPerS.median)[0];
  return best === undefined ? undefined : { modelFile, intraOpThreads, points, best };
}
