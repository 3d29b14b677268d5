const never = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread for `ms` milliseconds: nothing else runs on it meanwhile, and the processor is free for others. */
export function nap(ms: number): void {
  Atomics.wait(never, 0, 0, ms);
}
