import { countText, msText, percentText } from '../../number-text.js';
import type { LoadGroup } from '../../plan.js';
import type { RunSummary } from '../../point.js';
import { type BarContext, type BarResult, BarRuns, closed, groupOf, judged, open, told } from './bar.js';
import { eachRepetition } from './big-server.js';

const callers = 10;
const use = 0.9;
const flood = 10;
const capacityCallers = 128;

/** A request that failed is one that never came: when more than one in a hundred did, the 99th percentile is no time. */
const p99Us = (run: RunSummary): number =>
  run.sent - run.good > run.sent / 100 ? Number.POSITIVE_INFINITY : run.latencyUs.p99;

const failedShare = (run: RunSummary): number => 1 - run.good / Math.max(1, run.sent);

const timeText = (us: number): string =>
  us === Number.POSITIVE_INFINITY ? 'more than 1 % failed' : `${msText(us)} ms`;

/** Ten callers with equal shares of 0.9 of capacity; then the tenth sends ten times its share. */
export async function fairnessBar(context: BarContext): Promise<BarResult> {
  // The flood goes beyond capacity, and is to be refused.
  const runs = new BarRuns(context, 'fairness', ['flood/tenth']);
  await eachRepetition(context, 'fairness', 'big', async (server) => {
    const [capacity] = await runs.take('capacity', {
      server,
      model: 'big',
      groups: [groupOf(closed(capacityCallers))],
    });
    const share = ((capacity?.throughputPerS ?? 0) * use) / callers;
    const nine: LoadGroup = groupOf(open(share * (callers - 1)), {
      name: 'nine',
      callers: Array.from({ length: callers - 1 }, (_, i) => `caller-${i + 1}`),
    });
    const tenth = (times: number): LoadGroup =>
      groupOf(open(share * times), { name: 'tenth', callers: [`caller-${callers}`] });
    await runs.take('calm', { server, model: 'big', groups: [nine, tenth(1)] });
    await runs.take('flood', { server, model: 'big', groups: [nine, tenth(flood)] });
  });
  const calm = runs.median('calm/nine', p99Us);
  const flooded = runs.median('flood/nine', p99Us);
  const failed = runs.median('flood/nine', failedShare);
  const goodput = runs.median('flood/tenth', (run) => run.throughputPerS);
  return runs.result([
    judged(
      `p99 of nine beside a tenth with ${flood} × its share, by that beside equals`,
      flooded / calm,
      { atMost: 1.1 },
      (ratio) => (ratio === Number.POSITIVE_INFINITY ? 'no end' : `${ratio.toFixed(2)} ×`),
    ),
    told('p99 of nine, beside equals', calm, timeText(calm)),
    told('p99 of nine, beside the flood', flooded, timeText(flooded)),
    told('failed, of the nine beside the flood', failed, percentText(failed)),
    told('answered to the flood', goodput, `${countText(goodput)}/s`),
  ]);
}
