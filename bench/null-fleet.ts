import { ShoalError } from '../core/errors.js';
import { forkChild } from './child-process.js';
import type { FromNullProcess } from './null-process.js';

/** Runs `use` with the address of a null server in a process of its own, and ends that process. */
export async function withNullServer<T>(use: (address: string) => Promise<T>): Promise<T> {
  const child = forkChild<never, FromNullProcess>('null-process', '');
  try {
    const port = await child.until((message) => {
      if (message.kind === 'failed') throw new ShoalError('INTERNAL', message.message);
      return message.port;
    });
    return await use(`127.0.0.1:${port}`);
  } finally {
    child.kill();
  }
}
