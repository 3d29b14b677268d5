import { combineCeiling } from '../../ceiling.js';
import type { CeilingSample } from '../../ceiling-messages.js';
import { countText, percentText } from '../../number-text.js';
import { waitForQuiet } from '../quiet-machine.js';
import { bareLoop, closedLoop } from '../suite-run.js';
import { type BarContext, type BarResult, BarRuns, bigInput, judged, reasonsText, told } from './bar.js';
import { eachRepetition, modelFileOf } from './big-server.js';

const callers = [64, 128];
const wantedShare = 0.85;
/** The best is one of these for this model on every machine seen; smaller ones only take time. */
const sizes = [16, 32, 64];

/** A whole server on one core against the bare loop on that core, interleaved, with the load made on another. */
export async function ceilingBar(context: BarContext): Promise<BarResult> {
  const runs = new BarRuns(context, 'ceiling');
  const samples: CeilingSample[] = [];
  await eachRepetition(context, 'ceiling', 'big', async (server) => {
    for (const concurrency of callers) {
      await waitForQuiet(context.mostOthers, context.quietLimitMs);
      samples.push(...(await bareLoop(modelFileOf(context, 'big'), bigInput, sizes, context.serverCpus)));
      await runs.takeBy(`${concurrency} callers`, server, 'big', () =>
        closedLoop(context, { server, model: 'big', input: bigInput, concurrency }),
      );
    }
  });
  const best = combineCeiling({ modelFile: 'big', intraOpThreads: 1 }, samples)?.best;
  const bestPerS = best?.rowsPerS.median ?? Number.NaN;
  const judgements = callers.flatMap((concurrency) => {
    const label = `${concurrency} callers`;
    const rowsPerS = runs.median(label, (run) => run.throughputPerS);
    const meanRows = runs.median(label, (_run, batches) => batches.meanRows);
    const harnessUs = runs.median(label, (run) => run.clientCpuUsPerRequest);
    return [
      judged(`${label}: share of the bare loop's best`, rowsPerS / bestPerS, { atLeast: wantedShare }, percentText),
      told(`${label}: rows/s`, rowsPerS, countText(rowsPerS)),
      told(`${label}: mean executed batch`, meanRows, countText(meanRows)),
      told(`${label}: batches closed for`, Number.NaN, reasonsText(runs.batches(label))),
      told(`${label}: harness CPU a request`, harnessUs, `${countText(harnessUs)} µs`),
    ];
  });
  const bare = told('bare loop, best', bestPerS, `${countText(bestPerS)} rows/s, ${best?.batch ?? 0} a batch`);
  return runs.result([...judgements, bare]);
}
