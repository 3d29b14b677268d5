import { invariant } from '../../core/errors.js';

/** Bytes of a varint that holds a non-negative integer of at most 2^53. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** Bytes of a varint that holds a 64-bit two's-complement integer. */
export function int64Bytes(value: number | bigint): number {
  if (value < 0) return 10;
  if (typeof value === 'number') return varintBytes(value);
  let bytes = 1;
  for (let rest = value; rest >= 0x80n; rest >>= 7n) bytes++;
  return bytes;
}

/** Bytes of the string in UTF-8. */
export function textBytes(text: string): number {
  if (text.length > 64) return Buffer.byteLength(text);
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return Buffer.byteLength(text);
  return text.length;
}

/** Tag (one byte), length and content of a field whose content takes `bytes`. */
export const delimitedBytes = (bytes: number): number => 1 + varintBytes(bytes) + bytes;

/** As `delimitedBytes`, but 0 for the empty string, which proto3 leaves out. */
export const textFieldBytes = (text: string): number => (text === '' ? 0 : delimitedBytes(textBytes(text)));

/**
 * Writes protobuf fields into one buffer of exactly the right size, computed beforehand with the functions
 * above. Field numbers are below 16, so that every tag is one byte.
 */
export class WireWriter {
  readonly bytes: Buffer;
  at = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafe(size);
  }

  byte(value: number): void {
    this.bytes[this.at++] = value;
  }

  varint(value: number): void {
    const { bytes } = this;
    let at = this.at;
    let rest = value;
    while (rest >= 0x80) {
      bytes[at++] = (rest & 0x7f) | 0x80;
      rest = rest < 0x8000_0000 ? rest >>> 7 : Math.floor(rest / 0x80);
    }
    bytes[at++] = rest;
    this.at = at;
  }

  int64(value: number | bigint): void {
    if (typeof value === 'number' && value >= 0) {
      this.varint(value);
      return;
    }
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest >= 0x80n; rest >>= 7n) this.byte(Number(rest & 0x7fn) | 0x80);
    this.byte(Number(rest));
  }

  double(value: number): void {
    this.at = this.bytes.writeDoubleLE(value, this.at);
  }

  /** A string field, left out when empty. */
  textField(tag: number, text: string): void {
    if (text !== '') this.text(tag, text);
  }

  /** A string field, written even when empty. */
  text(tag: number, text: string): void {
    const size = textBytes(text);
    this.byte(tag);
    this.varint(size);
    const { bytes } = this;
    const { length } = text;
    if (size === length && length <= 64) {
      const start = this.at;
      for (let i = 0; i < length; i++) bytes[start + i] = text.charCodeAt(i);
    } else bytes.write(text, this.at, size, 'utf8');
    this.at += size;
  }

  raw(part: Uint8Array): void {
    this.bytes.set(part, this.at);
    this.at += part.length;
  }

  /** The finished message. */
  finish(): Buffer {
    invariant(this.at === this.bytes.length, 'a message is as long as it was computed to be');
    return this.bytes;
  }
}
