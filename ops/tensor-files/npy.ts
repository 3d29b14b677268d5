import { type Datatype, elementBytes } from '../../core/datatype.js';
import { ShoalError } from '../../core/errors.js';
import { elementCount } from '../../core/tensor.js';
import { encodeElements } from './elements.js';
import type { FileTensor } from './file-tensor.js';

const numeric: Readonly<Record<string, Datatype>> = {
  b1: 'BOOL',
  u1: 'UINT8',
  u2: 'UINT16',
  u4: 'UINT32',
  u8: 'UINT64',
  i1: 'INT8',
  i2: 'INT16',
  i4: 'INT32',
  i8: 'INT64',
  f2: 'FP16',
  f4: 'FP32',
  f8: 'FP64',
};

interface Header {
  readonly descr: string;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
}

/**
 * Reads NumPy's .npy format, versions 1 to 3 (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
 * Big-endian numbers are turned round; text arrays (`S`, `U`) become BYTES.
 * @throws BAD_FILE naming what was found and what was expected.
 */
export function readNpy(bytes: Uint8Array, label: string): FileTensor {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.subarray(0, 2).toString('latin1') === 'PK') {
    throw bad(label, 'is a .npz archive of several arrays; save each with numpy.save()');
  }
  if (buffer.length < 10 || buffer.subarray(0, 6).toString('latin1') !== '\x93NUMPY') {
    throw bad(label, 'is not an .npy file: it does not start with \\x93NUMPY');
  }
  const version = buffer[6] ?? 0;
  if (version < 1 || version > 3) throw bad(label, `has .npy version ${version}; expected 1, 2 or 3`);
  if (version > 1 && buffer.length < 12) throw bad(label, 'ends inside its header');
  const start = version === 1 ? 10 : 12;
  const end = start + (version === 1 ? buffer.readUInt16LE(8) : buffer.readUInt32LE(8));
  if (end > buffer.length) throw bad(label, 'ends inside its header');
  const header = parseHeader(buffer.subarray(start, end).toString(version === 3 ? 'utf8' : 'latin1'), label);
  if (header.fortranOrder && header.shape.length > 1) {
    throw bad(label, 'is in Fortran order (columns first); save numpy.ascontiguousarray(x) instead');
  }
  return { name: '', shape: header.shape, content: readContent(header, buffer.subarray(end), label) };
}

const bad = (label: string, what: string): ShoalError => new ShoalError('BAD_FILE', `${label} ${what}.`);

function parseHeader(text: string, label: string): Header {
  const descr = /'descr'\s*:\s*(?:'([^']*)'|(\[))/.exec(text);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text);
  const shape = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(text);
  if (descr?.[2] !== undefined) throw bad(label, 'holds records with several fields; expected one plain array');
  if (descr?.[1] === undefined || order === null || shape === null) {
    throw bad(label, `has a header that cannot be read: ${text.trim().slice(0, 120)}`);
  }
  const dims = (shape[1] ?? '').split(',').map((dim) => dim.trim().replace(/L$/, ''));
  return { descr: descr[1], fortranOrder: order[1] === 'True', shape: dims.filter((dim) => dim !== '').map(Number) };
}

function readContent({ descr, shape }: Header, data: Buffer, label: string): FileTensor['content'] {
  const [, order = '', kind = '', digits = ''] = /^([<>|=]?)([a-zA-Z])(\d*)$/.exec(descr) ?? [];
  const size = Number(digits);
  const count = elementCount(shape);
  const itemBytes = kind === 'U' ? size * 4 : size;
  const datatype = numeric[`${kind}${digits}`];
  const isText = (kind === 'S' || kind === 'U') && size > 0;
  if (datatype === undefined && !isText) {
    const known = 'booleans, integers, float16, float32, float64 or text';
    throw bad(label, `holds elements of NumPy type '${descr}'; expected ${known}`);
  }
  if (data.length !== count * itemBytes) {
    throw bad(
      label,
      `holds ${data.length} bytes of data; expected ${count * itemBytes} for shape [${shape.join(',')}] of '${descr}'`,
    );
  }
  if (datatype === undefined)
    return { kind: 'bytes', datatype: 'BYTES', data: readText(kind, data, count, itemBytes, order) };
  if (order !== '>' || elementBytes[datatype] === 1) return { kind: 'bytes', datatype, data };
  return { kind: 'bytes', datatype, data: swapBytes(data, itemBytes) };
}

function swapBytes(data: Buffer, itemBytes: number): Uint8Array {
  const copy = Buffer.from(data);
  if (itemBytes === 2) return copy.swap16();
  return itemBytes === 4 ? copy.swap32() : copy.swap64();
}

/** Fixed-width text, padded with NUL at the end. */
function readText(kind: string, data: Buffer, count: number, itemBytes: number, order: string): Uint8Array {
  const elements: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const item = data.subarray(i * itemBytes, (i + 1) * itemBytes);
    if (kind === 'S') {
      let end = item.length;
      while (end > 0 && item[end - 1] === 0) end--;
      elements.push(item.subarray(0, end));
      continue;
    }
    const points: number[] = [];
    for (let at = 0; at < item.length; at += 4) {
      points.push(order === '>' ? item.readUInt32BE(at) : item.readUInt32LE(at));
    }
    while (points.at(-1) === 0) points.pop();
    elements.push(Buffer.from(String.fromCodePoint(...points), 'utf8'));
  }
  return encodeElements('BYTES', elements, 'exact', '');
}
