import { ConnectionError, ErrorCode } from './protocol.js';

/**
 * Bits of each byte's code, RFC 7541 appendix B. The code is canonical: codes of one length follow one another in
 * the order of their bytes, so the lengths are all there is to know. The end-of-string code has 30 bits.
 */
const codeLengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
  5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
  22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22,
  23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
  20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27,
  27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
  27, 27, 27, 26,
];
const endOfString = 256;
const endOfStringBits = 30;

export interface HuffmanCode {
  readonly code: number;
  readonly bits: number;
}

/** The code of every byte, and of the end of a string at index 256. */
export const huffmanCodes: readonly HuffmanCode[] = canonicalCodes([...codeLengths, endOfStringBits]);

function canonicalCodes(lengths: readonly number[]): HuffmanCode[] {
  const order = lengths
    .map((bits, symbol) => ({ bits, symbol }))
    .sort((a, b) => a.bits - b.bits || a.symbol - b.symbol);
  const codes: HuffmanCode[] = [];
  let next = 0;
  let lastBits = 0;
  for (const { bits, symbol } of order) {
    next *= 2 ** (bits - lastBits);
    lastBits = bits;
    codes[symbol] = { code: next++, bits };
  }
  return codes;
}

// The decoder walks the code's tree four bits at a time. One step's entry: bits 0-8 the next inner node,
// bits 9-16 the byte it completed, and the two flags below. No code is shorter than five bits, so a step completes
// at most one byte.
const emits = 1 << 17;
const fails = 1 << 18;
const { steps, mayEnd } = buildSteps();

function buildSteps(): { steps: Int32Array; mayEnd: Uint8Array } {
  // children[2n], children[2n + 1]: an inner node (≥ 0), a symbol (~symbol), or not there yet.
  const children: number[] = [];
  let nodes = 1;
  huffmanCodes.forEach(({ code, bits }, symbol) => {
    let node = 0;
    for (let bit = bits - 1; bit >= 0; bit--) {
      const slot = node * 2 + (Math.floor(code / 2 ** bit) & 1);
      const child = bit === 0 ? ~symbol : (children[slot] ?? nodes++);
      children[slot] = child;
      node = child;
    }
  });
  const table = new Int32Array(nodes * 16);
  for (let start = 0; start < nodes; start++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = start;
      let entry = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node * 2 + ((nibble >> bit) & 1)] ?? 0;
        if (child >= 0) {
          node = child;
        } else {
          // A string that spells out its own end is an error (section 5.2).
          entry |= ~child === endOfString ? fails : emits | (~child << 9);
          node = 0;
        }
      }
      table[start * 16 + nibble] = entry | node;
    }
  }
  // A string may end in at most seven bits of padding, all ones (section 5.2).
  const ends = new Uint8Array(nodes);
  let node = 0;
  for (let bits = 0; bits <= 7; bits++) {
    ends[node] = 1;
    node = children[node * 2 + 1] ?? 0;
  }
  return { steps: table, mayEnd: ends };
}

let scratch = Buffer.allocUnsafeSlow(4096);

/**
 * The text of the Huffman-coded bytes `[start, end)`, one character per byte (latin1).
 * @throws ConnectionError COMPRESSION_ERROR for padding that is too long or not ones, or a coded end of string
 */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  // The shortest code has five bits.
  const most = Math.ceil(((end - start) * 8) / 5);
  if (scratch.length < most) scratch = Buffer.allocUnsafeSlow(most * 2);
  const out = scratch;
  let length = 0;
  let node = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0;
    let step = steps[node * 16 + (byte >> 4)] ?? fails;
    if (step >= emits) {
      if (step >= fails) throw broken();
      out[length++] = (step >> 9) & 0xff;
    }
    step = steps[(step & 0x1ff) * 16 + (byte & 15)] ?? fails;
    if (step >= emits) {
      if (step >= fails) throw broken();
      out[length++] = (step >> 9) & 0xff;
    }
    node = step & 0x1ff;
  }
  if (mayEnd[node] !== 1) throw broken();
  return out.toString('latin1', 0, length);
}

const broken = (): ConnectionError =>
  new ConnectionError(ErrorCode.COMPRESSION_ERROR, 'A header string breaks the Huffman code or its padding.');
