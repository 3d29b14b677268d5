import { isUtf8 } from 'node:buffer';
import { ShoalError } from '../../core/errors.js';
import { internedAscii } from './interned-text.js';

// Protobuf wire format: https://protobuf.dev/programming-guides/encoding/
export const WireType = { VARINT: 0, FIXED64: 1, LENGTH: 2, START_GROUP: 3, END_GROUP: 4, FIXED32: 5 } as const;

/** As deep as the C++ implementation goes. */
const maxGroupDepth = 100;

/** Whose message is read: decides the code and the words of an error. */
export type Subject = 'request' | 'response';

/**
 * Reads protobuf fields from a buffer without copying it. Every read is checked against `end`; what does not
 * fit the wire format throws `INVALID_REQUEST` (`INTERNAL` for a response) naming the byte offset.
 */
export class WireReader {
  readonly bytes: Buffer;
  readonly subject: Subject;
  at: number;
  end: number;
  /** The varint read last, as two 32-bit halves (either may have its sign bit set). */
  low = 0;
  high = 0;
  /** Map entries read so far, in the whole message. */
  parameters = 0;

  constructor(bytes: Buffer, subject: Subject) {
    this.bytes = bytes;
    this.subject = subject;
    this.at = 0;
    this.end = bytes.length;
  }

  /** Throws for a message that is protobuf, but not one that can be honoured. `sentence` is whole. */
  refuse(sentence: string): never {
    throw new ShoalError(this.subject === 'request' ? 'INVALID_REQUEST' : 'INTERNAL', sentence);
  }

  /** Throws for bytes that are not protobuf. */
  malformed(what: string, at: number): never {
    return this.refuse(`The ${this.subject} is not a valid protobuf message: ${what} at byte ${at}.`);
  }

  /** Next field's tag: number × 8 + wire type. Call only while `at < end`. */
  tag(): number {
    const at = this.at;
    const first = this.bytes[at] ?? 0;
    if (first < 0x80) {
      this.at = at + 1;
      if (first < 8) this.malformed('field number 0', at);
      return first;
    }
    this.varint();
    if (this.high !== 0) this.malformed('a tag longer than 32 bits', at);
    const tag = this.low >>> 0;
    if (tag < 8) this.malformed('field number 0', at);
    return tag;
  }

  /** Reads a varint of at most 10 bytes into `low` and `high`. Bits beyond 64 are dropped, as the format says. */
  varint(): void {
    const { bytes, end } = this;
    const start = this.at;
    let at = start;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) this.malformed('a varint that does not end', start);
      const byte = bytes[at++] ?? 0;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else high |= (bits & 1) << 31;
      if (byte < 0x80) {
        this.at = at;
        this.low = low;
        this.high = high;
        return;
      }
    }
    this.malformed('a varint longer than 10 bytes', start);
  }

  /** A signed 64-bit integer: a number where that is exact, else a bigint. */
  int64(): number | bigint {
    this.varint();
    const value = (this.high | 0) * 0x1_0000_0000 + (this.low >>> 0);
    if (Number.isSafeInteger(value)) return value;
    return (BigInt(this.high | 0) << 32n) | BigInt(this.low >>> 0);
  }

  /** An unsigned 64-bit integer: a number where that is exact, else a bigint. */
  uint64(): number | bigint {
    this.varint();
    const value = (this.high >>> 0) * 0x1_0000_0000 + (this.low >>> 0);
    if (Number.isSafeInteger(value)) return value;
    return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
  }

  bool(): boolean {
    this.varint();
    return (this.low | this.high) !== 0;
  }

  double(): number {
    const at = this.fixed(8);
    return this.bytes.readDoubleLE(at);
  }

  /** Passes over `size` bytes and gives the offset where they start. */
  fixed(size: number): number {
    const at = this.at;
    if (size > this.end - at) this.malformed(`a value of ${size} bytes that runs past its message`, at);
    this.at = at + size;
    return at;
  }

  /** Length prefix of what follows, already checked to lie within the message. */
  length(): number {
    const start = this.at;
    const first = start < this.end ? (this.bytes[start] ?? 0) : 0x80;
    let length = first;
    if (first < 0x80) this.at = start + 1;
    else {
      this.varint();
      length = (this.high >>> 0) * 0x1_0000_0000 + (this.low >>> 0);
    }
    if (length > this.end - this.at) {
      this.malformed(`a length of ${length} where ${this.end - this.at} bytes are left`, start);
    }
    return length;
  }

  /** Narrows the reader to the message that starts here. Returns what `leave` wants back. */
  enter(): number {
    const length = this.length();
    const outer = this.end;
    this.end = this.at + length;
    return outer;
  }

  leave(outer: number): void {
    this.end = outer;
  }

  /** A slice of the buffer, not a copy. */
  slice(): Buffer {
    const length = this.length();
    const at = this.at;
    this.at = at + length;
    return this.bytes.subarray(at, at + length);
  }

  /** A string that will be seen again (a model's or a tensor's name): the same bytes give the same string. */
  name(): string {
    const length = this.length();
    const start = this.at;
    const known = internedAscii(this.bytes, start, start + length);
    if (known === undefined) return this.#text(start, length);
    this.at = start + length;
    return known;
  }

  /** A string seen once, such as a request's id. */
  text(): string {
    const length = this.length();
    return this.#text(this.at, length);
  }

  #text(start: number, length: number): string {
    const end = start + length;
    this.at = end;
    if (length < 64) {
      let bits = 0;
      for (let i = start; i < end; i++) bits |= this.bytes[i] ?? 0;
      if (bits < 0x80) return this.bytes.toString('latin1', start, end);
    }
    if (!isUtf8(this.bytes.subarray(start, end))) this.malformed('a string that is not UTF-8', start);
    return this.bytes.toString('utf8', start, end);
  }

  /**
   * Passes over a field that the caller does not know. `highestKnown`: fields up to this number have one wire
   * type each, and another is refused: no version of the protocol ever sent it, and silently reading the
   * field as absent would send the caller looking in the wrong place.
   */
  skip(tag: number, highestKnown: number): void {
    const field = tag >>> 3;
    if (field <= highestKnown) this.malformed(`field ${field} with wire type ${tag & 7}`, this.at);
    this.#skipValue(tag);
  }

  #skipValue(tag: number): void {
    switch (tag & 7) {
      case WireType.VARINT:
        this.varint();
        return;
      case WireType.FIXED64:
        this.fixed(8);
        return;
      case WireType.LENGTH:
        this.fixed(this.length());
        return;
      case WireType.FIXED32:
        this.fixed(4);
        return;
      case WireType.START_GROUP:
        this.#skipGroup(tag >>> 3);
        return;
      default:
        this.malformed(`wire type ${tag & 7} out of place`, this.at);
    }
  }

  #skipGroup(field: number): void {
    const start = this.at;
    const open = [field];
    while (open.length > 0) {
      if (this.at >= this.end) this.malformed('a group that does not end', start);
      const tag = this.tag();
      if ((tag & 7) === WireType.START_GROUP) {
        if (open.length === maxGroupDepth) this.malformed(`groups nested deeper than ${maxGroupDepth}`, this.at);
        open.push(tag >>> 3);
      } else if ((tag & 7) === WireType.END_GROUP) {
        if (open.pop() !== tag >>> 3) this.malformed('the end of a group that was not begun', this.at);
      } else this.#skipValue(tag);
    }
  }
}
