import { timeoutText } from './grpc-headers.js';
import { defaultTableBytes } from './hpack-decoder.js';
import { HeaderBlock, isStaticField } from './hpack-encoder.js';

const staticEntries = 61;

/** The headers of calls that differ in their deadlines only. */
export class CallHead {
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** As the last block had it, for as long as the table has `entries`. */
  block: Buffer | undefined;
  entries = -1;

  constructor(fields: readonly (readonly [name: string, value: string])[]) {
    this.fields = fields;
  }
}

/**
 * Makes the header blocks of one client connection. What repeats is put into the peer's dynamic table (RFC 7541) at
 * its first use and is a byte from then on; the table is only filled and nothing is ever thrown out of it.
 */
export class RequestBlocks {
  readonly #scratch = new HeaderBlock();
  /** By field, which entry it was, counted from 0. */
  readonly #known = new Map<string, number>();
  #entries = 0;
  #tableBytes = 0;
  #limit = defaultTableBytes;
  /** What the next block must begin with, after the peer has allowed less. */
  #resizeTo: number | undefined;

  /** The peer's HEADER_TABLE_SIZE. More than the default is not used. */
  peerAllows(bytes: number): void {
    if (bytes >= this.#limit) return;
    this.#limit = bytes;
    if (this.#tableBytes > bytes) {
      // Which entries would survive is not worth knowing: the table is emptied and not used again.
      this.#limit = 0;
      this.#entries = 0;
      this.#tableBytes = 0;
      this.#known.clear();
    }
    this.#resizeTo = this.#limit;
  }

  /** The block of a call; good until the next is made, and it must be sent in order. */
  block(head: CallHead, timeoutMs: number): Buffer {
    const block = this.#scratch.clear();
    if (this.#resizeTo !== undefined) {
      block.tableSize(this.#resizeTo);
      this.#resizeTo = undefined;
      head.block = undefined;
    }
    if (head.block !== undefined && head.entries === this.#entries) {
      block.append(head.block);
    } else {
      const start = block.length;
      const before = this.#entries;
      for (const [name, value] of head.fields) this.#field(block, name, value);
      // With nothing put into the table, the block may be said again as it is.
      if (before === this.#entries && start === 0) {
        head.block = block.copy();
        head.entries = before;
      }
    }
    if (timeoutMs !== Number.POSITIVE_INFINITY) block.field('grpc-timeout', timeoutText(timeoutMs));
    return block.view();
  }

  #field(block: HeaderBlock, name: string, value: string): void {
    const key = `${name}\n${value}`;
    const entry = this.#known.get(key);
    const bytes = name.length + value.length + 32;
    if (entry !== undefined) {
      block.indexed(staticEntries + this.#entries - entry);
    } else if (isStaticField(name, value) || this.#tableBytes + bytes > this.#limit) {
      block.field(name, value);
    } else {
      block.inserted(name, value);
      this.#known.set(key, this.#entries++);
      this.#tableBytes += bytes;
    }
  }
}
