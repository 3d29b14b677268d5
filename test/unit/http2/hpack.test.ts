import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HeaderField, staticTable } from '../../../platform/http2/header-field.js';
import { HpackDecoder } from '../../../platform/http2/hpack-decoder.js';
import { HeaderBlock, headerBlock } from '../../../platform/http2/hpack-encoder.js';
import { decodeHuffman, huffmanCodes } from '../../../platform/http2/huffman.js';

const bytesOf = (hex: string): Buffer => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');

function decoded(decoder: HpackDecoder, block: Buffer, maxListBytes = 65_536): string[] {
  const fields: HeaderField[] = [];
  decoder.decode(block, 0, block.length, fields, maxListBytes);
  return fields.map(({ name, value }) => `${name}: ${value}`);
}

/** Huffman coding by the book, bit by bit. */
function huffman(text: string): Buffer {
  let bits = '';
  for (const byte of Buffer.from(text, 'latin1')) {
    const { code, bits: length } = huffmanCodes[byte] ?? { code: 0, bits: 0 };
    bits += code.toString(2).padStart(length, '0');
  }
  while (bits.length % 8 !== 0) bits += '1';
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}

describe('the vectors of RFC 7541, appendix C', () => {
  it.each([
    ['C.2.1', '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', 'custom-key: custom-header', 55],
    ['C.2.2', '040c 2f73 616d 706c 652f 7061 7468', ':path: /sample/path', 0],
    ['C.2.3', '1008 7061 7373 776f 7264 0673 6563 7265 74', 'password: secret', 0],
    ['C.2.4', '82', ':method: GET', 0],
  ])('%s', (_section, hex, line, tableBytes) => {
    const decoder = new HpackDecoder();
    expect(decoded(decoder, bytesOf(hex))).toEqual([line]);
    expect(decoder.tableBytes).toBe(tableBytes);
  });

  const requests = [
    [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'],
    [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com', 'cache-control: no-cache'],
    [':method: GET', ':scheme: https', ':path: /index.html', ':authority: www.example.com', 'custom-key: custom-value'],
  ];

  it.each([
    [
      'C.3',
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ],
    ],
    [
      'C.4 (Huffman)',
      [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ],
    ],
  ])('%s: three requests on one connection', (_section, blocks) => {
    const decoder = new HpackDecoder();
    const sizes = [57, 110, 164];
    blocks.forEach((hex, i) => {
      expect(decoded(decoder, bytesOf(hex))).toEqual(requests[i]);
      expect(decoder.tableBytes).toBe(sizes[i]);
    });
  });

  const location = 'location: https://www.example.com';
  const responses = [
    [':status: 302', 'cache-control: private', 'date: Mon, 21 Oct 2013 20:13:21 GMT', location],
    [':status: 307', 'cache-control: private', 'date: Mon, 21 Oct 2013 20:13:21 GMT', location],
    [
      ':status: 200',
      'cache-control: private',
      'date: Mon, 21 Oct 2013 20:13:22 GMT',
      location,
      'content-encoding: gzip',
      'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
    ],
  ];

  it.each([
    [
      'C.5',
      [
        `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
        '4803 3330 37c1 c0bf',
        `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31`,
      ],
    ],
    [
      'C.6 (Huffman)',
      [
        `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
         8f0b 97c8 e9ae 82ae 43d3`,
        '4883 640e ffc1 c0bf',
        `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
      ],
    ],
  ])('%s: three responses, a table of 256 bytes that evicts', (_section, blocks) => {
    const decoder = new HpackDecoder(256);
    const sizes = [222, 222, 215];
    blocks.forEach((hex, i) => {
      expect(decoded(decoder, bytesOf(hex))).toEqual(responses[i]);
      expect(decoder.tableBytes).toBe(sizes[i]);
    });
  });
});

describe('the decoder', () => {
  it('gives the same object for a field that repeats', () => {
    const decoder = new HpackDecoder();
    const fields: HeaderField[] = [];
    const literal = bytesOf('400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572');
    decoder.decode(literal, 0, literal.length, fields, 1000);
    decoder.decode(bytesOf('bebe'), 0, 2, fields, 1000);
    expect(fields[1]).toBe(fields[0]);
    expect(fields[2]).toBe(fields[0]);
  });

  it('keeps to the table size that the encoder announced', () => {
    const decoder = new HpackDecoder();
    const entry = (i: number) => Buffer.concat([Buffer.from([0x40, 1, 0x61, 4]), Buffer.from(String(1000 + i))]);
    for (let i = 0; i < 200; i++) decoded(decoder, entry(i));
    expect(decoder.tableBytes).toBe(Math.floor(4096 / 37) * 37);
    expect(decoded(decoder, bytesOf('be'))).toEqual(['a: 1199']);
    // To 100 bytes and up again: two entries are left.
    decoded(decoder, bytesOf('3f45 3fe11f'));
    expect(decoder.tableBytes).toBe(74);
    expect(decoded(decoder, bytesOf('bf'))).toEqual(['a: 1198']);
    expect(() => decoded(decoder, bytesOf('c0'))).toThrow('entry 64');
    decoded(decoder, bytesOf('20'));
    expect(decoder.tableBytes).toBe(0);
  });

  it('an entry larger than the table empties it', () => {
    const decoder = new HpackDecoder(64);
    decoded(decoder, bytesOf('4001 6101 62'));
    expect(decoder.tableBytes).toBe(34);
    const value = Buffer.alloc(100, 0x7a);
    expect(decoded(decoder, Buffer.concat([bytesOf('4001 6164'), value]))).toEqual([`a: ${value}`]);
    expect(decoder.tableBytes).toBe(0);
  });

  it('reads on past a list that is too large, so that later blocks still make sense', () => {
    const decoder = new HpackDecoder();
    const fields: HeaderField[] = [];
    const block = bytesOf('82 400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572');
    const listBytes = decoder.decode(block, 0, block.length, fields, 60);
    expect(listBytes).toBe(42 + 55);
    expect(fields).toHaveLength(1);
    expect(decoded(decoder, bytesOf('be'))).toEqual(['custom-key: custom-header']);
  });

  it.each([
    ['index 0', '80'],
    ['an index beyond the tables', 'be'],
    ['a number cut off', 'ff'],
    ['a number cut off later', 'ff8080'],
    ['a number too large', 'ffffffffff7f'],
    ['a number that would overflow to something small', 'ff808080808001'],
    ['a text cut off', '400a 6375'],
    ['a name without a value', '4001 61'],
    ['a text of 2^27 bytes', '40 7f80 8080 4061'],
    ['a table larger than allowed', '3fe2 1f'],
    ['a table resize after a field', '8220'],
    ['a Huffman end of string', '0001 6184 ffff ffff'],
    ['Huffman padding of eight bits', '0001 6182 1fff'],
    ['Huffman padding of zeros', '0001 6181 18'],
  ])('refuses %s', (_what, hex) => {
    expect(() => decoded(new HpackDecoder(), bytesOf(hex))).toThrow(
      expect.objectContaining({ name: 'ConnectionError', code: 9 }),
    );
  });

  it('cut anywhere, a block is read or refused, and never more', () => {
    const block = bytesOf(`4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
      919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`);
    for (let end = 0; end < block.length; end++) {
      try {
        decoded(new HpackDecoder(), block.subarray(0, end));
      } catch (thrown) {
        expect(thrown).toMatchObject({ name: 'ConnectionError', code: 9 });
      }
    }
  });
});

describe('Huffman coding', () => {
  it('fills its code space exactly', () => {
    expect(huffmanCodes).toHaveLength(257);
    expect(huffmanCodes.reduce((sum, { bits }) => sum + 2 ** -bits, 0)).toBe(1);
    // Spot checks against the table of appendix B.
    expect(huffmanCodes[0]).toEqual({ code: 0x1ff8, bits: 13 });
    expect(huffmanCodes[97]).toEqual({ code: 0x3, bits: 5 });
    expect(huffmanCodes[126]).toEqual({ code: 0x1ffd, bits: 13 });
    expect(huffmanCodes[249]).toEqual({ code: 0xffffffe, bits: 28 });
    expect(huffmanCodes[256]).toEqual({ code: 0x3fffffff, bits: 30 });
  });

  it('any bytes come back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const text = Buffer.from(bytes).toString('latin1');
        const coded = huffman(text);
        expect(decodeHuffman(coded, 0, coded.length)).toBe(text);
      }),
    );
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('latin1');
    const coded = huffman(all);
    expect(decodeHuffman(coded, 0, coded.length)).toBe(all);
  });

  it('a text larger than the scratch space comes back', () => {
    const text = 'shoal '.repeat(10_000);
    const coded = huffman(text);
    expect(decodeHuffman(coded, 0, coded.length)).toBe(text);
  });
});

describe('the encoder', () => {
  const nameOf = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
  const textOf = fc.stringMatching(/^[ -~]{0,200}$/);

  it('what it writes reads the same, and leaves the table of the reader alone', () => {
    const decoder = new HpackDecoder();
    fc.assert(
      fc.property(fc.array(fc.tuple(nameOf, textOf), { maxLength: 20 }), (fields) => {
        expect(decoded(decoder, headerBlock(fields))).toEqual(fields.map(([name, value]) => `${name}: ${value}`));
        expect(decoder.tableBytes).toBe(0);
      }),
    );
    expect(decoder.changes).toBe(0);
  });

  it('uses the static table', () => {
    expect(headerBlock([[':status', '200']]).toString('hex')).toBe('88');
    expect(headerBlock([['content-type', 'x']]).toString('hex')).toBe('0f100178');
    expect(decoded(new HpackDecoder(), headerBlock([[':status', '415']]))).toEqual([':status: 415']);
    expect(staticTable[1]?.name).toBe(':authority');
    expect(staticTable[61]?.name).toBe('www-authenticate');
    expect(staticTable[16]).toMatchObject({ name: 'accept-encoding', value: 'gzip, deflate' });
  });

  it('makes a question mark of what cannot stand in a header', () => {
    expect(decoded(new HpackDecoder(), headerBlock([['a', 'x\r\ny\0zλ é\t']]))).toEqual(['a: x??y?z? é\t']);
  });

  it('grows, and starts anew', () => {
    const block = new HeaderBlock(16);
    const long = 'v'.repeat(70_000);
    expect(decoded(new HpackDecoder(), block.field('a', long).field('b', 'c').view(), 1e6)).toEqual([
      `a: ${long}`,
      'b: c',
    ]);
    expect(decoded(new HpackDecoder(), block.clear().field('d', 'e').view())).toEqual(['d: e']);
  });
});

describe('header fields', () => {
  it.each([
    ['upper case', 'Name', 'x'],
    ['a space', 'na me', 'x'],
    ['no name', '', 'x'],
    ['an unknown pseudo-header', ':protocol', 'websocket'],
    ['a line break', 'name', 'a\nb'],
    ['a zero', 'name', 'a\0b'],
    ['a connection header', 'connection', 'close'],
    ['te other than trailers', 'te', 'gzip'],
  ])('%s is forbidden', (_what, name, value) => {
    expect(new HeaderField(name, value).kind).toBe(10);
  });

  it('te: trailers and binary values are not', () => {
    expect(new HeaderField('te', 'trailers').kind).not.toBe(10);
    expect(new HeaderField('x-bin', 'é ~').kind).toBe(0);
  });
});
