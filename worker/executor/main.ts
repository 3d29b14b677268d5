import fs from 'node:fs';
import { Worker as Thread } from 'node:worker_threads';
import { ShoalError } from '../../core/errors.js';
import { BatchRunner, type SlabPair } from './batch-runner.js';
import { ControlPipe } from './control-pipe.js';
import { checkDevice } from './device-check.js';
import { prepare } from './prepare.js';
import type { FromExecutor, ToExecutor } from './protocol.js';
import { type LoadedModel, loadModel } from './session.js';

// One executor: a process that holds one ONNX Runtime session and runs its batches one after the other.
// Arguments: name, number of slab slots, slab folder (for error messages), the worker's process id.
// Descriptors: 3 is the control pipe, then an input and an output slab for each slot.
const [name = '', slotsText = '0', slabDir = '', parentPidText = '0'] = process.argv.slice(2);

process.title = `shoal-executor ${name}`;
// A signal to the whole process group (Ctrl-C) is the worker's to act on.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
try {
  // When memory runs out the kernel shall take an executor, which can be replaced, and never the worker.
  fs.writeFileSync('/proc/self/oom_score_adj', '1000');
} catch {
  // No such file on this system, or no permission: the kernel chooses by itself.
}
new Thread(new URL('./parent-watch.js', import.meta.url), {
  workerData: { parentPid: Number(parentPidText), intervalMs: 500 },
  resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1 },
}).unref();

const slabs: SlabPair[] = Array.from({ length: Number(slotsText) }, (_, slot) => ({
  inputFd: 4 + 2 * slot,
  outputFd: 5 + 2 * slot,
}));
const pipe = new ControlPipe(3);
let model: LoadedModel | undefined;
let runner: BatchRunner | undefined;

function loaded(): { model: LoadedModel; runner: BatchRunner } {
  if (model === undefined || runner === undefined) throw new ShoalError('INTERNAL', 'No model is loaded yet.');
  return { model, runner };
}

async function answer(message: Exclude<ToExecutor, { kind: 'close' }>): Promise<FromExecutor> {
  switch (message.kind) {
    case 'execute':
      return loaded().runner.run(message.execution);
    case 'load':
      model = await loadModel(message.request);
      runner = new BatchRunner(model, slabs, slabDir);
      return { kind: 'loaded', observed: model.observed };
    case 'prepare':
      return { kind: 'prepared', report: await prepare(loaded().model, message.request) };
    case 'check':
      await checkDevice(message.device);
      return { kind: 'checked' };
  }
}

for (;;) {
  const message = pipe.next();
  if (message === undefined || message.kind === 'close') break;
  let reply: FromExecutor;
  try {
    reply = await answer(message);
  } catch (thrown) {
    const { code, message: text } = ShoalError.from(thrown);
    reply = { kind: 'failed', code, message: text };
  }
  pipe.send(reply);
}
process.exit(0);
