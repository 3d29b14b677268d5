import { staticTable } from './header-field.js';

/**
 * A header block under construction (RFC 7541). Made of `field`s alone it sets nothing in the peer's table, so that
 * such blocks can be made in any order, kept, and repeated on every connection.
 */
export class HeaderBlock {
  #bytes: Buffer;
  #length = 0;

  constructor(initialBytes = 512) {
    this.#bytes = Buffer.allocUnsafeSlow(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** Starts anew; the bytes of the last block are overwritten. */
  clear(): this {
    this.#length = 0;
    return this;
  }

  /** Appends what another block holds. */
  append(block: Uint8Array): this {
    this.#room(block.length);
    this.#bytes.set(block, this.#length);
    this.#length += block.length;
    return this;
  }

  /**
   * Appends a field. `name` is lower-case ASCII; what cannot stand in a header value (controls, and all beyond
   * latin1) becomes `?`: a broken header would cost the caller the whole answer.
   */
  field(name: string, value: string): this {
    const known = exactIndices.get(name)?.get(value);
    if (known !== undefined) {
      this.#room(1);
      this.#bytes[this.#length++] = 0x80 | known;
      return this;
    }
    this.#room(name.length + value.length + 16);
    const nameIndex = nameIndices.get(name);
    if (nameIndex === undefined) {
      this.#bytes[this.#length++] = 0;
      this.#text(name);
    } else {
      this.#integer(nameIndex, 0x0f);
    }
    this.#text(value);
    return this;
  }

  /** Appends entry `index` of the peer's tables (section 6.1). */
  indexed(index: number): this {
    this.#room(8);
    this.#integer(index, 0x7f, 0x80);
    return this;
  }

  /** Appends a field that the peer keeps as the newest entry of its dynamic table (section 6.2.1). */
  inserted(name: string, value: string): this {
    this.#room(name.length + value.length + 16);
    const nameIndex = nameIndices.get(name) ?? 0;
    this.#integer(nameIndex, 0x3f, 0x40);
    if (nameIndex === 0) this.#text(name);
    this.#text(value);
    return this;
  }

  /** Says how large a table is used from here on (section 6.3); only at a block's beginning. */
  tableSize(bytes: number): this {
    this.#room(8);
    this.#integer(bytes, 0x1f, 0x20);
    return this;
  }

  /** The block so far; good until the next change. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** The block so far, for keeps. */
  copy(): Buffer {
    return Buffer.from(this.view());
  }

  #text(text: string): void {
    this.#integer(text.length, 0x7f);
    const bytes = this.#bytes;
    let at = this.#length;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      bytes[at++] = (code >= 0x20 && code < 0x7f) || code === 0x09 || (code >= 0x80 && code <= 0xff) ? code : 0x3f;
    }
    this.#length = at;
  }

  /** `pattern`: the prefix's other bits; zero for no index and not Huffman. */
  #integer(value: number, mask: number, pattern = 0): void {
    if (value < mask) {
      this.#bytes[this.#length++] = pattern | value;
      return;
    }
    this.#bytes[this.#length++] = pattern | mask;
    let rest = value - mask;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  #room(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow((this.#length + more) * 2);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/** Whether the static table has the very field: one byte on the wire. */
export const isStaticField = (name: string, value: string): boolean => exactIndices.get(name)?.has(value) ?? false;

const nameIndices = new Map<string, number>();
const exactIndices = new Map<string, Map<string, number>>();
staticTable.forEach((field, index) => {
  if (field === undefined) return;
  if (!nameIndices.has(field.name)) nameIndices.set(field.name, index);
  if (field.value === '') return;
  const values = exactIndices.get(field.name) ?? new Map<string, number>();
  exactIndices.set(field.name, values.set(field.value, index));
});

/** A block for keeps, of fields known in advance. */
export function headerBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const block = new HeaderBlock(64);
  for (const [name, value] of fields) block.field(name, value);
  return block.copy();
}
