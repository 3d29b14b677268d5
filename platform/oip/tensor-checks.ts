import { ShoalError } from '../../core/errors.js';
import type { Parameters } from '../../core/inference.js';

/** A caller's name as it may stand in a sentence: quoted, escaped, and cut at 100 characters. */
export function quoted(name: string): string {
  const text = JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);
  return `'${text.slice(1, -1)}'`;
}

/**
 * What was expected of a shape that no tensor can have, as the end of a sentence; `undefined` for a good one.
 * The product is checked at each step, zeros aside, so that neither rounding nor a zero hides an absurd shape.
 */
export function shapeFault(shape: readonly number[]): string | undefined {
  let product = 1;
  for (const dim of shape) {
    if (dim < 0) return 'no negative dimension';
    if (dim > 0) product *= dim;
    if (product > Number.MAX_SAFE_INTEGER) return 'fewer than 2^53 elements';
  }
  return undefined;
}

/**
 * Triton's shared-memory extension names a region instead of sending bytes.
 * @throws UNSUPPORTED naming the tensor
 */
export function refuseSharedMemory(label: string, parameters: Parameters): void {
  const region = parameters.shared_memory_region;
  if (region === undefined) return;
  throw new ShoalError(
    'UNSUPPORTED',
    `${label} is to be in shared memory region ${quoted(String(region))}, but tensors are only taken and given in messages.`,
  );
}
