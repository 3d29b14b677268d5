import type { HeaderField } from './header-field.js';
import type { HpackDecoder } from './hpack-decoder.js';

/** Makes something of a list of fields; `isTooLarge`: the list was cut off at the limit. */
export type MakeHead<Head> = (fields: readonly HeaderField[], isTooLarge: boolean) => Head;

/** Blocks longer than this are not worth comparing: something in them differs from call to call. */
const maxKeptBytes = 256;

/** Reads header blocks of one connection. */
export class HeadReader<Head> {
  readonly #decoder: HpackDecoder;
  readonly #maxListBytes: number;
  readonly #make: MakeHead<Head>;
  readonly #mayRepeat: (head: Head) => boolean;
  readonly #kept = Buffer.allocUnsafeSlow(maxKeptBytes);
  #keptLength = -1;
  #keptHead: Head | undefined;
  #keptChanges = -1;

  /** `mayRepeat`: whether a head is worth comparing with the next block. */
  constructor(
    decoder: HpackDecoder,
    maxListBytes: number,
    make: MakeHead<Head>,
    mayRepeat: (head: Head) => boolean = () => true,
  ) {
    this.#decoder = decoder;
    this.#maxListBytes = maxListBytes;
    this.#make = make;
    this.#mayRepeat = mayRepeat;
  }

  /**
   * The head in the block `[start, end)`. Peers repeat themselves: a block equal to the last one kept, with the
   * dynamic table as it was, is not decoded again.
   * @throws ConnectionError COMPRESSION_ERROR
   */
  read(bytes: Buffer, start: number, end: number): Head {
    const before = this.#decoder.changes;
    if (this.#keptHead !== undefined && before === this.#keptChanges && this.#isKept(bytes, start, end)) {
      return this.#keptHead;
    }
    const fields: HeaderField[] = [];
    const listBytes = this.#decoder.decode(bytes, start, end, fields, this.#maxListBytes);
    const head = this.#make(fields, listBytes > this.#maxListBytes);
    if (end - start <= maxKeptBytes && before === this.#decoder.changes && this.#mayRepeat(head)) {
      bytes.copy(this.#kept, 0, start, end);
      this.#keptLength = end - start;
      this.#keptHead = head;
      this.#keptChanges = before;
    }
    return head;
  }

  #isKept(bytes: Buffer, start: number, end: number): boolean {
    const length = end - start;
    if (length !== this.#keptLength) return false;
    const kept = this.#kept;
    for (let i = 0; i < length; i++) if (kept[i] !== bytes[start + i]) return false;
    return true;
  }
}
