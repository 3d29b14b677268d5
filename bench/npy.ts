import type { Datatype } from '../core/datatype.js';
import { ShoalError } from '../core/errors.js';
import { expectedBytes, type Tensor } from '../core/tensor.js';

const datatypes: Readonly<Record<string, Datatype>> = {
  '|b1': 'BOOL',
  '|u1': 'UINT8',
  '|i1': 'INT8',
  '<u2': 'UINT16',
  '<i2': 'INT16',
  '<u4': 'UINT32',
  '<i4': 'INT32',
  '<u8': 'UINT64',
  '<i8': 'INT64',
  '<f2': 'FP16',
  '<f4': 'FP32',
  '<f8': 'FP64',
};

/**
 * The tensor in a NumPy `.npy` file (format 1.0 to 3.0, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
 * Little-endian and C order only. `origin` names the file in errors.
 * @throws BAD_SETTING
 */
export function parseNpy(name: string, file: Uint8Array, origin: string): Tensor {
  const refuse = (why: string): never => {
    throw new ShoalError('BAD_SETTING', `${origin} cannot be used as an input: ${why}.`);
  };
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 12 || view.getUint32(0) !== 0x934e554d) return refuse('it is not a .npy file');
  const major = view.getUint8(6);
  const headerAt = major === 1 ? 10 : 12;
  const dataAt = headerAt + (major === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (dataAt > file.length) return refuse('its header is cut off');
  const header = Buffer.from(file.subarray(headerAt, dataAt)).toString('latin1');
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1] ?? '';
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  const datatype = datatypes[descr];
  if (datatype === undefined) return refuse(`its element type "${descr}" is not one of ${Object.keys(datatypes)}`);
  if (order !== 'False' || dims === undefined) return refuse('only C order is read');
  const shape = dims
    .split(',')
    .filter((dim) => dim.trim() !== '')
    .map(Number);
  const bytes = expectedBytes(datatype, shape) ?? 0;
  if (file.length - dataAt !== bytes) return refuse(`it holds ${file.length - dataAt} bytes of data, not ${bytes}`);
  return { name, datatype, shape, data: file.subarray(dataAt) };
}
