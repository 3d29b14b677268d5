import { HeaderField, staticTable } from './header-field.js';
import { decodeHuffman } from './huffman.js';
import { ConnectionError, ErrorCode } from './protocol.js';

/** What the dynamic table may hold unless SETTINGS say otherwise (RFC 9113, section 6.5.2). We do not say otherwise. */
export const defaultTableBytes = 4096;
const staticEntries = 61;

/**
 * Decoder of header blocks (RFC 7541) of one connection. Fields that the caller repeats come out of the tables as
 * the same objects every time.
 */
export class HpackDecoder {
  readonly #maxTableBytes: number;
  /** A ring: the newest entry is at `#newest`, older ones before it. As many places as entries can be. */
  readonly #ring: (HeaderField | undefined)[];
  readonly #mask: number;
  #newest = 0;
  #entries = 0;
  #tableBytes = 0;
  #tableLimit: number;
  #changes = 0;
  // The cursor lives here so that reading a number or a text allocates nothing.
  #at = 0;

  constructor(maxTableBytes: number = defaultTableBytes) {
    this.#maxTableBytes = maxTableBytes;
    this.#tableLimit = maxTableBytes;
    const places = 2 ** Math.ceil(Math.log2(Math.max(2, maxTableBytes / 32)));
    this.#ring = new Array<HeaderField | undefined>(places).fill(undefined);
    this.#mask = places - 1;
  }

  /** Counts how often the dynamic table changed: while it stays the same, equal blocks mean equal fields. */
  get changes(): number {
    return this.#changes;
  }

  get tableBytes(): number {
    return this.#tableBytes;
  }

  /**
   * Decodes the whole block `[start, end)` and appends its fields to `fields` until they exceed `maxListBytes`
   * (section 10.5.1 of RFC 9113): the rest is still decoded, because later blocks build on it, but not kept.
   * Returns the list's size in the RFC's count.
   * @throws ConnectionError COMPRESSION_ERROR
   */
  decode(bytes: Buffer, start: number, end: number, fields: HeaderField[], maxListBytes: number): number {
    let listBytes = 0;
    let mayResize = true;
    this.#at = start;
    while (this.#at < end) {
      const first = bytes[this.#at] ?? 0;
      let field: HeaderField;
      if (first >= 0x80) {
        field = this.#entry(this.#integer(bytes, end, 0x7f));
      } else if (first >= 0x40) {
        field = this.#literal(bytes, end, 0x3f);
        this.#insert(field);
      } else if (first >= 0x20) {
        // Section 4.2: only at the beginning of a block.
        if (!mayResize) throw broken('A table size update stands in the middle of a header block.');
        this.#resize(this.#integer(bytes, end, 0x1f));
        continue;
      } else {
        // Without indexing, or never indexed: the same for a server that passes nothing on compressed.
        field = this.#literal(bytes, end, 0x0f);
      }
      mayResize = false;
      listBytes += field.size;
      if (listBytes <= maxListBytes) fields.push(field);
    }
    return listBytes;
  }

  #literal(bytes: Buffer, end: number, mask: number): HeaderField {
    const index = this.#integer(bytes, end, mask);
    const name = index === 0 ? this.#text(bytes, end) : this.#entry(index).name;
    return new HeaderField(name, this.#text(bytes, end));
  }

  #entry(index: number): HeaderField {
    if (index > staticEntries) {
      const back = index - staticEntries - 1;
      if (back < this.#entries) {
        const field = this.#ring[(this.#newest - back) & this.#mask];
        if (field !== undefined) return field;
      }
    }
    const field = staticTable[index];
    if (field === undefined) throw broken(`A header field names entry ${index}, which does not exist.`);
    return field;
  }

  /** Section 5.1. The numbers of honest blocks are small; more than 28 bits are refused long before they overflow. */
  #integer(bytes: Buffer, end: number, mask: number): number {
    let value = (bytes[this.#at++] ?? 0) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= end) throw broken('A number in a header block is cut off.');
      const byte = bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw broken('A number in a header block is too large.');
  }

  #text(bytes: Buffer, end: number): string {
    if (this.#at >= end) throw broken('A header block ends where a text should begin.');
    const isHuffman = (bytes[this.#at] ?? 0) >= 0x80;
    const length = this.#integer(bytes, end, 0x7f);
    const start = this.#at;
    const stop = start + length;
    if (stop > end) throw broken(`A header text of ${length} bytes is cut off after ${end - start}.`);
    this.#at = stop;
    return isHuffman ? decodeHuffman(bytes, start, stop) : bytes.toString('latin1', start, stop);
  }

  /** Section 4.4: room is made first, and an entry larger than the table empties it and is not kept. */
  #insert(field: HeaderField): void {
    this.#changes++;
    this.#shrinkTo(this.#tableLimit - field.size);
    if (field.size > this.#tableLimit) return;
    this.#newest = (this.#newest + 1) & this.#mask;
    this.#ring[this.#newest] = field;
    this.#entries++;
    this.#tableBytes += field.size;
  }

  #resize(limit: number): void {
    if (limit > this.#maxTableBytes) {
      throw broken(`A header table of ${limit} bytes was asked for where ${this.#maxTableBytes} are allowed.`);
    }
    this.#changes++;
    this.#tableLimit = limit;
    this.#shrinkTo(limit);
  }

  #shrinkTo(limit: number): void {
    while (this.#entries > 0 && this.#tableBytes > limit) {
      const oldest = (this.#newest - this.#entries + 1) & this.#mask;
      this.#tableBytes -= this.#ring[oldest]?.size ?? 0;
      this.#ring[oldest] = undefined;
      this.#entries--;
    }
  }
}

const broken = (message: string): ConnectionError => new ConnectionError(ErrorCode.COMPRESSION_ERROR, message);
