import { countText, msText, percentText } from '../../number-text.js';
import { type BarContext, type BarResult, BarRuns, groupOf, judged, open, told } from './bar.js';
import { eachRepetition } from './big-server.js';
import { waitedInVain } from './outcomes.js';

const deadlineMs = 100;
const offered = 2;
const capacityCallers = 128;

/** Twice the capacity is offered, with deadlines: what gets through, and how fast the rest is told. */
export async function overloadBar(context: BarContext): Promise<BarResult> {
  const runs = new BarRuns(context, 'overload');
  await eachRepetition(context, 'overload', 'big', async (server) => {
    const capacity = await runs.capacityPerS({ server, model: 'big' }, capacityCallers);
    const rate = capacity * offered;
    await runs.take('overload', { server, model: 'big', groups: [groupOf(open(rate), { deadlineMs })] });
  });
  const capacityPerS = runs.median('capacity', (run) => run.throughputPerS);
  const goodputPerS = runs.median('overload', (run) => run.goodputPerS);
  const expired = runs.median('overload', (_run, { expiredRows }) => expiredRows ?? Number.NaN);
  const refusedUs = runs.median('overload', (run) => (run.refusalUs.count > 0 ? run.refusalUs.p99 : Number.NaN));
  const usualRefusalUs = runs.median('overload', (run) => (run.refusalUs.count > 0 ? run.refusalUs.p90 : Number.NaN));
  const refused = runs.median('overload', (run) => run.refusedShare);
  const late = runs.median('overload', waitedInVain);
  return runs.result([
    judged(`goodput at ${offered} × capacity, by capacity`, goodputPerS / capacityPerS, { atLeast: 0.95 }, percentText),
    judged('rows executed after their deadline', expired, { atMost: 0 }, countText),
    judged('refusals, p99', refusedUs, { atMost: 10_000 }, (us) => `${msText(us)} ms`),
    told('refusals, p90', usualRefusalUs, `${msText(usualRefusalUs)} ms`),
    told('capacity', capacityPerS, `${countText(capacityPerS)}/s`),
    told('goodput', goodputPerS, `${countText(goodputPerS)}/s`),
    told('refused', refused, percentText(refused)),
    told('neither in time nor refused', late, percentText(late)),
  ]);
}
