import { ShoalError } from '../core/errors.js';
import { forkChild } from './child-process.js';
import type { FromNullProcess } from './null-process.js';

/**
 * Runs `use` with the address and process id of a null server in a process of its own, and ends that process.
 * @param cpus `taskset -c` list for it; empty: not pinned
 */
export async function withNullServer<T>(cpus: string, use: (address: string, pid: number) => Promise<T>): Promise<T> {
  const child = forkChild<never, FromNullProcess>('null-process', cpus);
  try {
    const port = await child.until((message) => {
      if (message.kind === 'failed') throw new ShoalError('INTERNAL', message.message);
      return message.port;
    });
    return await use(`127.0.0.1:${port}`, child.pid);
  } finally {
    child.kill();
  }
}
