import { ShoalError } from '../../core/errors.js';
import type { ScatteredTensor, Tensor } from '../../core/tensor.js';
import type { Executed, Placement } from './protocol.js';
import { alignUp, maxSlabBytes, readSlab, slabHeaderBytes, writeParts } from './slab.js';

export interface SlabInput {
  /** The input's place in the session's own order. */
  readonly index: number;
  readonly tensor: ScatteredTensor;
}

const freshHeader = new Uint8Array(slabHeaderBytes);

/**
 * Lays a batch's inputs out in a slab, behind a fresh header, straight from where their parts lie.
 * @throws REQUEST_TOO_LARGE, or the system's error
 */
export function writeInputs(
  fd: number,
  inputs: readonly SlabInput[],
): { readonly placements: Placement[]; readonly byteLength: number } {
  const placements: Placement[] = [];
  let offset = slabHeaderBytes;
  for (const { index, tensor } of inputs) {
    const { datatype, shape, byteLength } = tensor;
    placements.push({ index, datatype, shape, offset, byteLength });
    offset = alignUp(offset + byteLength);
  }
  if (offset > maxSlabBytes) {
    throw new ShoalError('REQUEST_TOO_LARGE', `A batch of ${offset} bytes was asked for; the most is ${maxSlabBytes}.`);
  }
  // The header goes out with the first input, in the same system call.
  let head: Uint8Array[] = [freshHeader];
  let end = slabHeaderBytes;
  for (let i = 0; i < inputs.length; i++) {
    const parts = inputs[i]?.tensor.parts ?? [];
    const { offset: at, byteLength } = placements[i] ?? { offset: 0, byteLength: 0 };
    if (head.length > 0) {
      writeParts(fd, head.concat(parts), slabHeaderBytes + byteLength, 0);
      head = [];
    } else {
      writeParts(fd, parts, byteLength, at);
    }
    if (byteLength > 0) end = at + byteLength;
  }
  if (head.length > 0) writeParts(fd, head, slabHeaderBytes, 0);
  return { placements, byteLength: end };
}

/**
 * Reads a batch's outputs into memory of their own, because nobody can say when the last caller has let go of them.
 */
export function readOutputs(fd: number, executed: Executed, nameOf: (index: number) => string): Tensor[] {
  const memory = Buffer.allocUnsafe(executed.outputBytes);
  readSlab(fd, memory, executed.outputBytes);
  return executed.outputs.map((placement) => ({
    name: nameOf(placement.index),
    datatype: placement.datatype,
    shape: placement.shape,
    data: memory.subarray(placement.offset, placement.offset + placement.byteLength),
  }));
}
