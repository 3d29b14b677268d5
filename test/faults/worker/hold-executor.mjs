// Run by a test as a process of its own: starts an executor of the compiled product, makes it busy for a long time,
// prints its process id and waits to be killed.
import { systemClock } from '../../../dist/core/clock.js';
import { systemTimers } from '../../../dist/platform/timers.js';
import { Executor } from '../../../dist/worker/executor/executor.js';

const [modelPath, busy, slabDir] = process.argv.slice(2);
const executor = await Executor.start({
  name: 'held/1 #0',
  slabDir,
  slots: 1,
  batchTimeoutMs: 600_000,
  loadTimeoutMs: 60_000,
  closeGraceMs: 1_000,
  clock: systemClock,
  timers: systemTimers,
});
await executor.load({ modelPath, device: { provider: 'cpu', ordinal: 0 }, session: {}, intraOpThreads: 1 });
if (busy === 'busy') {
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, 4], parts: [new Uint8Array(16)], byteLength: 16 }];
  executor.run({ inputs, outputs: [], budgetUs: Number.POSITIVE_INFINITY, traceparent: '' }, () => process.exit(1));
}
process.stdout.write(`${executor.pid}\n`);
setInterval(() => undefined, 1_000);
