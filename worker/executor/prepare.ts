import fs from 'node:fs/promises';
import { systemClock } from '../../core/clock.js';
import { elementBytes } from '../../core/datatype.js';
import { type Random, seededRandom } from '../../core/random.js';
import { elementCount } from '../../core/tensor.js';
import type { WarmupSample } from '../repository/version-plan.js';
import { tensorOver } from './ort-tensor.js';
import { probePadding } from './padding-probe.js';
import type { PrepareReport, PrepareRequest, RowProbe } from './protocol.js';
import { probeRows } from './row-probe.js';
import { type LoadedModel, oneLine } from './session.js';
import { randomElements, repeated, trialShape } from './trial-data.js';
import { type Feeds, TrialRuns } from './trial-runs.js';

/** More random elements than this are repetitions: warm-up wants sizes, not surprises. */
const randomBlock = 16_384;

/** Timing may cost so much of the warm-up's budget: no load should wait for it noticeably. */
const timingShare = 0.03;

/** Warm-up and probes, in the executor, so that trial runs never hold up the worker. Never throws for a model's sake. */
export async function prepare(model: LoadedModel, request: PrepareRequest): Promise<PrepareReport> {
  const probe: RowProbe = request.probeRows
    ? await probeRows(model.session, model.observed)
    : { verdict: 'unknown', detail: 'not asked for' };
  const padding =
    request.probeBuckets === undefined
      ? undefined
      : await probePadding(model.session, model.observed, request.probeBuckets);
  const warnings: string[] = [];
  const endMs = systemClock.nowMs() + request.budgetMs;
  const runs = new TrialRuns(model.session, request.timeRuns ? timingShare * request.budgetMs : 0);
  if (request.samples.length > 0) await runSamples(model, runs, request, endMs, warnings);
  else await runSizes(model, runs, request, endMs, warnings);
  return { warmedRowCounts: runs.warmedRowCounts, timings: runs.timings, warnings, probe, padding };
}

async function runSizes(
  model: LoadedModel,
  runs: TrialRuns,
  request: PrepareRequest,
  endMs: number,
  warnings: string[],
): Promise<void> {
  const random = seededRandom(1);
  const rowCounts = request.rowCounts.length === 0 ? [undefined] : request.rowCounts;
  for (const rows of rowCounts) {
    if (isOver(runs, endMs)) {
      const done = runs.warmedRowCounts.join(', ');
      warnings.push(`Warm-up took longer than ${request.budgetMs} ms; the batch sizes after ${done} were left out.`);
      return;
    }
    try {
      await runs.run(rows ?? 1, trialFeeds(model, rows, random));
    } catch (thrown) {
      warnings.push(`Warm-up with ${rows ?? 1} row(s) and free dimensions of 1 failed: ${oneLine(thrown)}.`);
      return;
    }
  }
}

/** At least one run is made, however long it takes. */
const isOver = (runs: TrialRuns, endMs: number): boolean =>
  runs.warmedRowCounts.length > 0 && systemClock.nowMs() > endMs;

function trialFeeds(model: LoadedModel, rows: number | undefined, random: Random): Feeds {
  const feeds: Feeds = {};
  for (const spec of model.observed.inputs) {
    const shape = trialShape(spec, rows);
    const count = elementCount(shape);
    const block = randomElements(spec.datatype, Math.min(count, randomBlock), random);
    const data = repeated(block, count * (elementBytes[spec.datatype] || 4));
    const placement = { index: 0, datatype: spec.datatype, shape, offset: 0, byteLength: data.length };
    feeds[spec.name] = tensorOver(data.buffer, placement);
  }
  return feeds;
}

async function runSamples(
  model: LoadedModel,
  runs: TrialRuns,
  request: PrepareRequest,
  endMs: number,
  warnings: string[],
): Promise<void> {
  const batches = request.rowCounts.length > 0;
  for (const sample of request.samples) {
    try {
      const feeds = await sampleFeeds(sample, model);
      for (let run = 0; run < Math.max(1, sample.count); run++) {
        if (isOver(runs, endMs)) {
          warnings.push(
            `Warm-up took longer than ${request.budgetMs} ms and was cut short in the sample "${sample.name}".`,
          );
          return;
        }
        await runs.run(batches ? sample.batchSize : 1, feeds);
      }
    } catch (thrown) {
      warnings.push(`The model_warmup sample "${sample.name}" failed: ${oneLine(thrown)}.`);
    }
  }
}

/** Triton's rule: dims that leave the batch axis out are those of one row, which is repeated to the batch size. */
async function sampleFeeds(sample: WarmupSample, model: LoadedModel): Promise<Feeds> {
  const random = seededRandom(2);
  const feeds: Feeds = {};
  for (const { spec, fill } of sample.inputs) {
    const rank = model.observed.inputs.find((input) => input.name === spec.name)?.shape.length;
    const oneRow = rank !== undefined && spec.shape.length === rank - 1;
    const shape = oneRow ? [Math.max(1, sample.batchSize), ...spec.shape] : [...spec.shape];
    const count = elementCount(shape);
    let data: Uint8Array<ArrayBuffer>;
    if (fill === 'random') data = randomElements(spec.datatype, count, random);
    else if (fill === 'zero') data = new Uint8Array(count * (elementBytes[spec.datatype] || 4));
    else
      data = fromFile(
        await fs.readFile(fill.file),
        spec.datatype === 'BYTES' ? undefined : count * elementBytes[spec.datatype],
        shape[0] ?? 1,
      );
    const placement = { index: 0, datatype: spec.datatype, shape, offset: 0, byteLength: data.length };
    feeds[spec.name] = tensorOver(data.buffer, placement);
  }
  return feeds;
}

function fromFile(content: Uint8Array, wantedBytes: number | undefined, rows: number): Uint8Array<ArrayBuffer> {
  const bytes = wantedBytes ?? content.length * rows;
  if (content.length !== bytes && content.length * rows !== bytes) {
    throw new Error(`the sample's file has ${content.length} bytes; expected ${bytes} or ${bytes / rows}`);
  }
  return repeated(content, bytes);
}
