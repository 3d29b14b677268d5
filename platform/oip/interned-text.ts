/** Longest string kept, bytes; names of models and tensors are shorter. */
const longest = 64;
const slots = 1024;

/** Direct-mapped: a colliding name takes the slot over, so the table never grows past `slots` × `longest` bytes. */
const table: string[] = new Array<string>(slots).fill('');

/**
 * The string whose ASCII bytes are `bytes[start, end)`, made once and then found again without allocation.
 * `undefined` when the bytes are too long or not ASCII.
 */
export function internedAscii(bytes: Buffer, start: number, end: number): string | undefined {
  const length = end - start;
  if (length === 0) return '';
  if (length > longest) return undefined;
  let hash = length;
  let bits = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i] ?? 0;
    bits |= byte;
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  if (bits >= 0x80) return undefined;
  const slot = (hash ^ (hash >>> 15)) & (slots - 1);
  const known = table[slot] ?? '';
  if (known.length === length) {
    let i = 0;
    while (i < length && known.charCodeAt(i) === bytes[start + i]) i++;
    if (i === length) return known;
  }
  const text = bytes.toString('latin1', start, end);
  table[slot] = text;
  return text;
}
