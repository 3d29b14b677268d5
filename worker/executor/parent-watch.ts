import { workerData } from 'node:worker_threads';

// A thread of the executor that ends the process when its worker is gone. The main thread would notice by its
// pipe closing, but not while it is inside a long (or hung) run of the model.
const { parentPid, intervalMs } = workerData as { parentPid: number; intervalMs: number };
const never = new Int32Array(new SharedArrayBuffer(4));
while (process.ppid === parentPid) Atomics.wait(never, 0, 0, intervalMs);
process.kill(process.pid, 'SIGKILL');
