import { PNG } from 'pngjs';
import { describe, expect, test } from 'vitest';
import { decodeElements } from '../../../ops/tensor-files/elements.js';
import type { FileTensor } from '../../../ops/tensor-files/file-tensor.js';
import { parseInputFile } from '../../../ops/tensor-files/read-file.js';

function only(name: string, bytes: Uint8Array | string): FileTensor {
  const content = parseInputFile(name, typeof bytes === 'string' ? Buffer.from(bytes) : bytes);
  const tensor = content.kind === 'tensors' ? content.tensors[0] : undefined;
  if (tensor === undefined) throw new Error('expected a tensor');
  return tensor;
}

function values(tensor: FileTensor): unknown[] {
  const { content } = tensor;
  const elements = content.kind === 'bytes' ? decodeElements(content.datatype, content.data) : content.elements;
  return elements.map((element) => (element instanceof Uint8Array ? Buffer.from(element).toString() : element));
}

/** A protobuf field: number, wire type 0 (varint) or 2 (bytes). */
const varint = (field: number, value: number): Buffer => Buffer.from([field << 3, value]);
const bytesField = (field: number, content: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([(field << 3) | 2, content.length]), content]);

describe('ONNX TensorProto', () => {
  test('raw data, with dims one by one as ONNX writes them', () => {
    const data = Buffer.alloc(8);
    data.writeFloatLE(1.5, 0);
    data.writeFloatLE(-2, 4);
    const proto = Buffer.concat([
      varint(1, 1),
      varint(1, 2),
      varint(2, 1),
      bytesField(8, Buffer.from('x')),
      bytesField(9, data),
    ]);
    const tensor = only('a.pb', proto);
    expect([tensor.name, tensor.shape, values(tensor)]).toEqual(['x', [1, 2], [1.5, -2]]);
  });

  const packed64 = Buffer.from([0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
  test.each<[string, Buffer, unknown[]]>([
    ['INT64 as packed varints', Buffer.concat([varint(1, 2), varint(2, 7), bytesField(7, packed64)]), [1n, -1n]],
    [
      'BOOL in int32_data',
      Buffer.concat([varint(1, 2), varint(2, 9), bytesField(5, Buffer.from([1, 0]))]),
      [true, false],
    ],
    [
      'FP16 as bit patterns in int32_data',
      Buffer.concat([varint(1, 1), varint(2, 10), bytesField(5, Buffer.from([0x80, 0x78]))]),
      [1],
    ],
    [
      'strings',
      Buffer.concat([varint(1, 2), varint(2, 8), bytesField(6, Buffer.from('hé')), bytesField(6, Buffer.from(''))]),
      ['hé', ''],
    ],
    [
      'UINT32 in uint64_data',
      Buffer.concat([varint(1, 1), varint(2, 12), bytesField(11, Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]))]),
      [4294967295],
    ],
    ['no dims: a scalar', Buffer.concat([varint(2, 2), bytesField(9, Buffer.from([7]))]), [7]],
  ])('%s', (_, proto, expected) => {
    expect(values(only('a.pb', proto))).toEqual(expected);
  });

  test.each<[string, Buffer, string]>([
    ['something else', Buffer.from('not protobuf at all'), 'a.pb is not an ONNX TensorProto.'],
    [
      'an unknown element type',
      Buffer.concat([varint(1, 1), varint(2, 99)]),
      'a.pb is not an ONNX TensorProto of a supported element type (data_type 99).',
    ],
    [
      'too little data',
      Buffer.concat([varint(1, 2), varint(2, 1), bytesField(9, Buffer.alloc(4))]),
      'a.pb holds 4 bytes; expected 8 for shape [2] of FP32.',
    ],
    [
      'data elsewhere',
      Buffer.concat([varint(1, 2), varint(2, 1), varint(14, 1)]),
      'a.pb keeps its data in another file; expected them inside.',
    ],
  ])('%s is refused', (_, proto, sentence) => {
    expect(() => only('a.pb', proto)).toThrow(expect.objectContaining({ code: 'BAD_FILE', message: sentence }));
  });
});

describe('JSON', () => {
  test('nested arrays carry their shape and take on any datatype', () => {
    const tensor = only('a.json', '[[1, 2.5], [3, true]]');
    expect(tensor.content.kind).toBe('values');
    expect([tensor.shape, values(tensor)]).toEqual([
      [2, 2],
      [1, 2.5, 3, true],
    ]);
    expect(only('a.json', '5').shape).toEqual([]);
  });

  test('an OIP tensor, flat or nested, with big integers as text', () => {
    const flat = only('a.json', '{"shape": [2, 1], "datatype": "INT64", "data": [1, "9007199254740993"]}');
    expect([flat.shape, values(flat)]).toEqual([
      [2, 1],
      [1n, 9007199254740993n],
    ]);
    expect(values(only('-', '{"datatype": "BYTES", "data": [["a"], ["bé"]]}'))).toEqual(['a', 'bé']);
  });

  test('a whole request names its tensors', () => {
    const request =
      '{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [0.1]}, {"name": "b", "data": [1]}]}';
    const content = parseInputFile('r.json', Buffer.from(request));
    expect(content.kind === 'tensors' && content.tensors.map((tensor) => tensor.name)).toEqual(['a', 'b']);
  });

  test.each([
    ['{"data": [1, 2', /^a\.json is not JSON: /],
    ['[[1, 2], [3]]', 'a.json is ragged: expected arrays of 2 at depth 2.'],
    ['[1, [2]]', 'a.json has [2] at element 1; expected numbers, booleans or text.'],
    ['[1, null]', 'a.json has null at element 1; expected numbers, booleans or text.'],
    ['{"shape": [3], "data": [1, 2]}', 'a.json holds 2 elements; expected 3 for shape [3].'],
    [
      '{"datatype": "FLOAT", "data": [1]}',
      'a.json has datatype "FLOAT"; expected one of the protocol\'s, like FP32 or INT64.',
    ],
    ['{"shape": [-1], "data": [1]}', 'a.json has shape [-1]; expected a list of whole numbers.'],
    [
      '{"datatype": "INT64", "data": [9007199254740993]}',
      'a.json has 9007199254740992 at element 0, beyond what JSON numbers hold exactly; write it as a string.',
    ],
    [
      '{"datatype": "UINT8", "data": [256]}',
      'a.json: element 0 is 256, which UINT8 cannot hold (its range is 0 to 255).',
    ],
    ['{"inputs": []}', 'a.json has no tensors under "inputs".'],
    ['{"inputs": [{"data": [1]}]}', 'a.json has no "name" for tensor 0 of "inputs".'],
    ['{}', 'a.json has no "data"; expected nested arrays, or "shape", "datatype" and "data".'],
  ])('%s is refused', (json, sentence) => {
    const message = typeof sentence === 'string' ? sentence : expect.stringMatching(sentence);
    expect(() => only('a.json', json)).toThrow(expect.objectContaining({ code: 'BAD_FILE', message }));
  });
});

describe('PNG', () => {
  test('grey, colour and transparency become RGB', () => {
    const png = new PNG({ width: 3, height: 1 });
    png.data.set([10, 10, 10, 255, 1, 2, 3, 255, 0, 0, 0, 0]);
    const content = parseInputFile('a.PNG', PNG.sync.write(png));
    expect(content.kind === 'image' && [...content.image.rgb]).toEqual([10, 10, 10, 1, 2, 3, 255, 255, 255]);
  });

  test('what is not an image, or damaged, or monstrous is refused', () => {
    const bytes = PNG.sync.write(new PNG({ width: 4, height: 4 }));
    const huge = Buffer.from(bytes);
    huge.writeUInt32BE(1_000_000, 16);
    huge.writeUInt32BE(1_000_000, 20);
    expect(() => parseInputFile('a.png', Buffer.from('GIF89a'))).toThrow('a.png is not a PNG image.');
    expect(() => parseInputFile('a.png', bytes.subarray(0, 50))).toThrow(/^a\.png is a damaged PNG image: /);
    expect(() => parseInputFile('a.png', huge)).toThrow('a.png has 1000000×1000000 pixels; expected 67108864 at most.');
  });
});

test('other endings are refused by name', () => {
  expect(() => parseInputFile('a.jpg', Buffer.alloc(4))).toThrow(
    'a.jpg ends in ".jpg"; expected .png, .npy, .pb or .json.',
  );
});
