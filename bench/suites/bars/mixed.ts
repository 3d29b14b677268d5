import { countText, percentText } from '../../number-text.js';
import { type BarContext, type BarResult, BarRuns, closed, groupOf, judged, told } from './bar.js';
import { eachRepetition } from './big-server.js';

const callers = 64;
const lengths = [4, 5];
const shapeOf = (length: number): ReadonlyMap<string, readonly number[]> => new Map([['x', [length, 256]]]);

/** Callers that alternate between two lengths, against callers that all have one. */
export async function mixedBar(context: BarContext): Promise<BarResult> {
  const runs = new BarRuns(context, 'mixed');
  await eachRepetition(context, 'mixed', 'seq', async (server) => {
    const groups = [groupOf(closed(callers))];
    for (const length of lengths) {
      await runs.take(`length ${length}`, { server, model: 'seq', groups, shapes: [shapeOf(length)] });
    }
    await runs.take('alternating', { server, model: 'seq', groups, shapes: lengths.map(shapeOf) });
  });
  const rates = lengths.map((length) => runs.median(`length ${length}`, (run) => run.throughputPerS));
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  const mixed = runs.median('alternating', (run) => run.throughputPerS);
  const batch = (label: string): number => runs.median(label, (_run, batches) => batches.meanRows);
  return runs.result([
    judged('alternating, by the mean of one shape', mixed / mean, { atLeast: 0.95 }, percentText),
    ...lengths.map((length, i) =>
      told(
        `length ${length}`,
        rates[i] ?? Number.NaN,
        `${countText(rates[i] ?? Number.NaN)}/s, mean batch ${countText(batch(`length ${length}`))}`,
      ),
    ),
    told('alternating', mixed, `${countText(mixed)}/s, mean batch ${countText(batch('alternating'))}`),
  ]);
}
