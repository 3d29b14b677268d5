import { cpus } from 'node:os';
import { join } from 'node:path';
import { generateSlowModel } from '../../models/generate.js';
import { countText } from '../../number-text.js';
import type { RunSummary } from '../../point.js';
import { type ServerUnderTest, startCluster } from '../server-under-test.js';
import {
  type BarContext,
  type BarResult,
  BarRuns,
  groupOf,
  judged,
  open,
  percentileText,
  timesText,
  told,
} from './bar.js';
import { p99OfAllUs } from './outcomes.js';

const model = 'slow';
const fastMs = 20;
const slowdown = 5;
const fastWorkers = 2;
/** A batch takes tens of milliseconds, so that a hundredth of the requests needs a longer window than elsewhere. */
const windows = 4;
/** Above this share of all cores the workers take time from one another, and the slow one's cost is the machine's. */
const mostBusy = 0.85;

/** Cores' worth of work by the server's processes. */
const busyCores = (run: RunSummary): number =>
  (Object.values(run.serverCpuUsPerRequest).reduce((sum, us) => sum + us, 0) * run.throughputPerS) / 1e6;

/**
 * Two fast workers alone, and the same beside a third on which the model is five times slower, at the same load: real
 * processes on all cores. The load is what keeps the two fast ones busy for a part of the time if every request were
 * a batch of its own.
 */
export async function lateBar(plan: BarContext): Promise<BarResult> {
  // The suite itself is pinned, and what it starts would be too.
  const everyCore = `0-${cpus().length - 1}`;
  const context: BarContext = { ...plan, loadCpus: everyCore, durationMs: plan.durationMs * windows };
  const runs = new BarRuns(context, 'late');
  const [fast, slow] = [join(context.folder, 'fast'), join(context.folder, 'slow')];
  await generateSlowModel(fast, { name: model, milliseconds: fastMs });
  await generateSlowModel(slow, { name: model, milliseconds: fastMs * slowdown });
  const start = (name: string, repositories: readonly string[]): Promise<ServerUnderTest> =>
    startCluster({
      repositories,
      model,
      cpus: everyCore,
      dataFolder: join(context.folder, `data-late-${name}`),
      coordinatorFlags: context.coordinatorFlags,
      workerFlags: context.workerFlags,
    });
  const two = await start('two', [fast, fast]);
  try {
    const three = await start('three', [fast, fast, slow]);
    try {
      // Spinning would take a core from the workers.
      const pacing = 'timer';
      for (let repetition = 1; repetition <= context.repetitions; repetition++) {
        context.say(`late, repetition ${repetition} of ${context.repetitions}`);
        // One caller: one request a batch, on one of the two.
        const single = await runs.capacityPerS({ server: two, model, pacing }, 1);
        const groups = [groupOf(open(single * fastWorkers * context.lateUse))];
        await runs.take('two fast', { server: two, model, pacing, groups });
        await runs.take('and a slow one', { server: three, model, pacing, groups });
      }
    } finally {
      await three.stop();
    }
  } finally {
    await two.stop();
  }
  const [p99Two, p99Three] = ['two fast', 'and a slow one'].map((label) => runs.median(label, p99OfAllUs));
  const [twoUs, threeUs] = [p99Two ?? Number.NaN, p99Three ?? Number.NaN];
  const capacityPerS = runs.median('capacity', (run) => run.throughputPerS) * fastWorkers;
  const busy = Math.max(...['two fast', 'and a slow one'].map((label) => runs.median(label, busyCores)));
  const cores = cpus().length;
  const doubts =
    busy > cores * mostBusy
      ? [
          `The server used ${busy.toFixed(2)} of ${cores} cores, so that workers waited for one another; lower --late-use.`,
        ]
      : [];
  return runs.result(
    [
      judged(
        'p99 with a third, five times slower, by that of the two fast alone',
        threeUs / twoUs,
        { atMost: 1.3 },
        timesText,
      ),
      told('p99 of the two fast', twoUs, percentileText(twoUs)),
      told('p99 of the three', threeUs, percentileText(threeUs)),
      told(
        'capacity of the two, one request a batch',
        capacityPerS,
        `${countText(capacityPerS)}/s, of which ${(context.lateUse * 100).toFixed(0)} % are offered`,
      ),
      told('cores used by the server, at most', busy, busy.toFixed(2)),
    ],
    doubts,
  );
}
