import fs from 'node:fs';
import { ShoalError } from '../../core/errors.js';
import type { Tensor } from '../../core/tensor.js';
import type { Executed } from './protocol.js';
import { emptySlab, outOfSpace } from './slab.js';
import { readOutputs, type SlabInput, writeInputs } from './slab-transfer.js';

/** First byte of a slab's header when its batch was given up. */
const givenUp = Uint8Array.of(1);

/** The slabs of this process by their folder, so that one executor can make room for another. */
const byFolder = new Map<string, Set<SlotSlabs>>();

/**
 * An executor's slabs: a pair, for inputs and outputs, for each batch that may be with it. A slab keeps the size of
 * the largest batch it ever held, because growing it anew for each costs more than the copy itself. When the folder
 * is full, slabs that hold no batch are emptied, of whichever executor they are: otherwise one large batch would keep
 * the room of all later ones for ever.
 */
export class SlotSlabs {
  readonly #folder: string;
  readonly #pairs: readonly { readonly inputFd: number; readonly outputFd: number }[];
  readonly #free: number[];

  constructor(folder: string, pairs: readonly { readonly inputFd: number; readonly outputFd: number }[]) {
    this.#folder = folder;
    this.#pairs = pairs;
    this.#free = pairs.map((_, slot) => pairs.length - 1 - slot);
    byFolder.set(folder, (byFolder.get(folder) ?? new Set()).add(this));
  }

  get freeCount(): number {
    return this.#free.length;
  }

  /** Undefined when none is free. */
  take(): number | undefined {
    return this.#free.pop();
  }

  giveBack(slot: number): void {
    this.#free.push(slot);
  }

  /** @throws OUT_OF_SPACE, after which the slab is empty; REQUEST_TOO_LARGE */
  write(slot: number, inputs: readonly SlabInput[]): ReturnType<typeof writeInputs> {
    const fd = this.#pair(slot).inputFd;
    try {
      try {
        return writeInputs(fd, inputs);
      } catch (thrown) {
        if (outOfSpace(thrown, this.#folder, 0) === undefined) throw thrown;
        this.makeRoom(slot);
        return writeInputs(fd, inputs);
      }
    } catch (thrown) {
      let bytes = 0;
      for (const { tensor } of inputs) bytes += tensor.byteLength;
      const full = outOfSpace(thrown, this.#folder, bytes);
      if (full === undefined) throw ShoalError.from(thrown);
      // What was written of it would keep the folder full for everybody else.
      emptySlab(fd);
      throw full;
    }
  }

  read(slot: number, executed: Executed, nameOf: (index: number) => string): Tensor[] {
    return readOutputs(this.#pair(slot).outputFd, executed, nameOf);
  }

  /** Tells the executor that nobody waits for the batch in this slot any more. */
  giveUp(slot: number): void {
    fs.writeSync(this.#pair(slot).inputFd, givenUp, 0, 1, 0);
  }

  /** Empties this slot and every slab in the same folder that holds no batch. */
  makeRoom(slot: number): void {
    this.#empty(slot);
    for (const slabs of byFolder.get(this.#folder) ?? []) for (const free of slabs.#free) slabs.#empty(free);
  }

  /** To be called once their descriptors are closed. */
  closed(): void {
    const others = byFolder.get(this.#folder);
    others?.delete(this);
    if (others?.size === 0) byFolder.delete(this.#folder);
  }

  #empty(slot: number): void {
    const { inputFd, outputFd } = this.#pair(slot);
    emptySlab(inputFd);
    emptySlab(outputFd);
  }

  #pair(slot: number): { readonly inputFd: number; readonly outputFd: number } {
    return this.#pairs[slot] ?? { inputFd: -1, outputFd: -1 };
  }
}
