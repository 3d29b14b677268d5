import { countText, percentText } from '../../number-text.js';
import type { LoadGroup } from '../../plan.js';
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
import { eachRepetition } from './big-server.js';
import { failedShare, p99OfAllUs } from './outcomes.js';

const callers = 10;
const flood = 10;
const capacityCallers = 128;

/** Ten callers with equal shares of what is asked for; then the tenth sends ten times its share. */
export async function fairnessBar(context: BarContext): Promise<BarResult> {
  // The flood goes beyond capacity, and is to be refused.
  const runs = new BarRuns(context, 'fairness', ['flood/tenth']);
  await eachRepetition(context, 'fairness', 'big', async (server) => {
    const capacity = await runs.capacityPerS({ server, model: 'big' }, capacityCallers);
    const share = (capacity * context.fairUse) / callers;
    const nine: LoadGroup = groupOf(open(share * (callers - 1)), {
      name: 'nine',
      callers: Array.from({ length: callers - 1 }, (_, i) => `caller-${i + 1}`),
    });
    const tenth = (times: number): LoadGroup =>
      groupOf(open(share * times), { name: 'tenth', callers: [`caller-${callers}`] });
    await runs.take('calm', { server, model: 'big', groups: [nine, tenth(1)] });
    await runs.take('flood', { server, model: 'big', groups: [nine, tenth(flood)] });
  });
  const calm = runs.median('calm/nine', p99OfAllUs);
  const flooded = runs.median('flood/nine', p99OfAllUs);
  const failed = runs.median('flood/nine', failedShare);
  const goodput = runs.median('flood/tenth', (run) => run.throughputPerS);
  return runs.result([
    judged(
      `p99 of nine beside a tenth with ${flood} × its share, by that beside equals`,
      flooded / calm,
      { atMost: 1.1 },
      timesText,
    ),
    told('p99 of nine, beside equals', calm, percentileText(calm)),
    told('p99 of nine, beside the flood', flooded, percentileText(flooded)),
    told('failed, of the nine beside the flood', failed, percentText(failed)),
    told('answered to the flood', goodput, `${countText(goodput)}/s`),
  ]);
}
