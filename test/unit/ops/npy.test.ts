import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { decodeElements } from '../../../ops/tensor-files/elements.js';
import { readNpy } from '../../../ops/tensor-files/npy.js';

const fixtures = new URL('../../fixtures/npy-files.json', import.meta.url);
const { files } = JSON.parse(readFileSync(fixtures, 'utf8')) as { files: Record<string, string> };
const file = (name: string): Buffer => Buffer.from(files[name] ?? '', 'base64');

function read(bytes: Uint8Array) {
  const { shape, content } = readNpy(bytes, 'x.npy');
  if (content.kind !== 'bytes') throw new Error('npy files have a datatype');
  const elements = decodeElements(content.datatype, content.data);
  const shown = elements.map((element) => (element instanceof Uint8Array ? Buffer.from(element).toString() : element));
  return { shape, datatype: content.datatype, elements: shown };
}

describe('files that NumPy wrote', () => {
  test.each([
    ['f4 v1', [2, 3], 'FP32', [0, 0.25, 0.5, 0.75, 1, 1.25]],
    ['i8 v2', [3], 'INT64', [-1n, 9007199254740993n, -9223372036854775808n]],
    ['f2 v3', [3], 'FP16', [1.5, -0.25, 65504]],
    ['u2 big-endian', [3], 'UINT16', [1, 258, 65535]],
    ['b1 scalar', [], 'BOOL', [true]],
    ['U text', [3], 'BYTES', ['né', 'abc', '']],
    ['S text', [2], 'BYTES', ['ab', 'abc']],
    ['f8 empty', [0, 4], 'FP64', []],
    ['fortran vector', [3], 'INT32', [0, 1, 2]],
  ])('%s', (name, shape, datatype, elements) => {
    expect(read(file(name))).toEqual({ shape, datatype, elements });
  });
});

describe('files that are refused say why', () => {
  const good = file('f4 v1');
  const header = (text: string): Buffer => {
    const head = Buffer.from(text, 'latin1');
    return Buffer.concat([Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, head.length, 0]), head]);
  };
  test.each<[string, Uint8Array, string]>([
    [
      'column order',
      file('fortran'),
      'x.npy is in Fortran order (columns first); save numpy.ascontiguousarray(x) instead.',
    ],
    [
      'complex numbers',
      file('complex'),
      "x.npy holds elements of NumPy type '<c16'; expected booleans, integers, float16, float32, float64 or text.",
    ],
    ['records', file('records'), 'x.npy holds records with several fields; expected one plain array.'],
    ['too short', good.subarray(0, -1), "x.npy holds 23 bytes of data; expected 24 for shape [2,3] of '<f4'."],
    ['cut in its header', good.subarray(0, 60), 'x.npy ends inside its header.'],
    [
      'an archive',
      Buffer.from('PK\x03\x04..........'),
      'x.npy is a .npz archive of several arrays; save each with numpy.save().',
    ],
    ['something else', Buffer.from('hello, world'), 'x.npy is not an .npy file: it does not start with \\x93NUMPY.'],
    ['empty', Buffer.alloc(0), 'x.npy is not an .npy file: it does not start with \\x93NUMPY.'],
    [
      'a later version',
      Buffer.concat([good.subarray(0, 6), Buffer.from([9]), good.subarray(7)]),
      'x.npy has .npy version 9; expected 1, 2 or 3.',
    ],
    ['a strange header', header("{'descr': '<f4'}"), "x.npy has a header that cannot be read: {'descr': '<f4'}."],
  ])('%s', (_, bytes, sentence) => {
    expect(() => readNpy(bytes, 'x.npy')).toThrow(expect.objectContaining({ code: 'BAD_FILE', message: sentence }));
  });
});
