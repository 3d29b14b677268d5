import { combineCeiling } from '../../ceiling.js';
import { countText, msText, percentText } from '../../number-text.js';
import { median } from '../../spread.js';
import { bareLoop } from '../suite-run.js';
import { type BarContext, type BarResult, BarRuns, bigInput, groupOf, judged, open, told } from './bar.js';
import { eachRepetition, modelFileOf } from './big-server.js';
import { admittedInTime } from './outcomes.js';

const maxBatch = 64;
const use = 0.9;
const deadlineBatches = 5;
const capacityCallers = 128;

/** Poisson arrivals near capacity, with a deadline of a few batches: are promises kept? */
export async function attainmentBar(context: BarContext): Promise<BarResult> {
  const runs = new BarRuns(context, 'attainment');
  const deadlines: number[] = [];
  await eachRepetition(context, 'attainment', 'big', async (server) => {
    const bare = await bareLoop(modelFileOf(context, 'big'), bigInput, [maxBatch], context.serverCpus);
    const rowsPerS = combineCeiling({ modelFile: 'big', intraOpThreads: 1 }, bare)?.best.rowsPerS.median ?? Number.NaN;
    const deadlineMs = deadlineBatches * ((maxBatch * 1000) / rowsPerS);
    deadlines.push(deadlineMs);
    const capacity = await runs.capacityPerS({ server, model: 'big' }, capacityCallers);
    const rate = capacity * use;
    await runs.take('load', { server, model: 'big', groups: [groupOf(open(rate), { deadlineMs })] });
  });
  const capacityPerS = runs.median('capacity', (run) => run.throughputPerS);
  const p99 = runs.median('load', (run) => run.latencyUs.p99);
  return runs.result([
    judged(
      'in time, of those admitted',
      runs.median('load', admittedInTime),
      { atLeast: 0.999 },
      (share) => `${(share * 100).toFixed(2)} %`,
    ),
    judged(
      'refused',
      runs.median('load', (run) => run.refusedShare),
      { atMost: 0.02 },
      percentText,
    ),
    told('capacity', capacityPerS, `${countText(capacityPerS)}/s, of which ${use * 100} % are offered`),
    told(`deadline, ${deadlineBatches} × ℓ(${maxBatch})`, median(deadlines), `${median(deadlines).toFixed(0)} ms`),
    told('latency p99', p99, `${msText(p99)} ms`),
  ]);
}
