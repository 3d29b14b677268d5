/** Entry of the ceiling process: one ONNX Runtime session in a bare loop, nothing else. Forked by `ceiling.ts`. */
import { InferenceSession } from 'onnxruntime-node';
import { systemClock } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import { seededRandom } from '../core/random.js';
import type { CeilingJob, CeilingSample, FromCeilingProcess } from './ceiling-messages.js';
import { makeInputs } from './inputs.js';
import { LatencyHistogram } from './latency-histogram.js';
import { ortTensor } from './ort-feeds.js';

/** Different inputs used in turn, as in the load; few, so that they stay in the processor's cache as there. */
const distinctFeeds = 4;

type Feeds = Parameters<InferenceSession['run']>[0];

function tell(message: FromCeilingProcess, then: () => void = () => undefined): void {
  process.send?.(message, then);
}

async function open(job: CeilingJob): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(job.modelFile, {
      executionProviders: [...job.providers],
      intraOpNumThreads: job.intraOpThreads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
    });
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new ShoalError('MODEL_UNLOADABLE', `ONNX Runtime cannot load ${job.modelFile}: ${why}`);
  }
}

function feedsOf(job: CeilingJob, batch: number): readonly Feeds[] {
  const random = seededRandom(job.seed);
  const specs = job.inputs.specs.map((spec) =>
    job.inputs.batched ? { ...spec, shape: [batch, ...spec.shape.slice(1)] } : spec,
  );
  return Array.from({ length: distinctFeeds }, (_, i) => {
    const tensors = makeInputs({ ...job.inputs, specs, rows: batch }, i, random);
    return Object.fromEntries(tensors.map((tensor) => [tensor.name, ortTensor(tensor)]));
  });
}

async function loop(session: InferenceSession, feeds: readonly Feeds[], forMs: number): Promise<LatencyHistogram> {
  const calls = new LatencyHistogram();
  const endMs = systemClock.nowMs() + forMs;
  for (let i = 0, beforeMs = systemClock.nowMs(); beforeMs < endMs; i++) {
    await session.run(feeds[i % feeds.length] ?? {});
    const afterMs = systemClock.nowMs();
    calls.record(afterMs - beforeMs);
    beforeMs = afterMs;
  }
  return calls;
}

async function measure(session: InferenceSession, job: CeilingJob, batch: number): Promise<CeilingSample> {
  const feeds = feedsOf(job, batch);
  await session.run(feeds[0] ?? {});
  await loop(session, feeds, job.warmupMs);
  const calls = await loop(session, feeds, job.durationMs);
  const call = calls.snapshot();
  return { batch, rowsPerS: (calls.summary().count * batch * 1000) / call.sumMs, call };
}

async function run(job: CeilingJob): Promise<void> {
  const session = await open(job);
  for (const batch of job.batchSizes) tell({ kind: 'sample', sample: await measure(session, job, batch) });
  tell({ kind: 'done' }, () => process.exit(0));
}

process.on('message', (job: CeilingJob) => {
  run(job).catch((thrown: unknown) => {
    const error = ShoalError.from(thrown);
    tell({ kind: 'failed', code: error.code, message: error.message }, () => process.exit(1));
  });
});
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(0));
