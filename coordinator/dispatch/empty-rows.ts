import type { Datatype } from '../../core/datatype.js';
import { invariant } from '../../core/errors.js';
import { elementOf } from '../../core/padding.js';

/** A multiple of every element size. */
const blockBytes = 64 * 1024;
const zeros = Buffer.alloc(blockBytes);

/** One block for each value that some version pads with: as few as there are such declarations. */
const blocks = new Map<string, Buffer>();

/**
 * Appends `byteLength` bytes of elements of `value` to the parts of a tensor, as slices of blocks that all batches
 * share; returns `byteLength`. Elements of BYTES are empty strings, four zero bytes each.
 */
export function addEmptyRows(parts: Uint8Array[], byteLength: number, datatype: Datatype, value: number): number {
  const block = datatype === 'BYTES' || value === 0 ? zeros : blockOf(datatype, value);
  for (let left = byteLength; left > 0; left -= blockBytes) {
    parts.push(left >= blockBytes ? block : block.subarray(0, left));
  }
  return byteLength;
}

function blockOf(datatype: Datatype, value: number): Buffer {
  const key = `${datatype} ${value}`;
  let block = blocks.get(key);
  if (block === undefined) {
    const element = elementOf(datatype, value);
    invariant(element !== undefined, `the worker has checked that ${datatype} can hold ${value}`);
    block = Buffer.alloc(blockBytes, element);
    blocks.set(key, block);
  }
  return block;
}
