import type { Datatype } from '../core/datatype.js';
import { decodeHalf } from '../core/half-float.js';
import { shapeText, type Tensor } from '../core/tensor.js';
import { decodeInferResponse } from '../platform/oip/response.js';

interface FloatReader {
  readonly bytes: number;
  readonly tolerance: number;
  read(view: DataView, at: number): number;
}

/**
 * How far an answer may be from the one given to the same request alone, absolutely and relatively: kernels
 * sum in another order for another batch size. Another caller's rows are much further off.
 */
const floats: Partial<Record<Datatype, FloatReader>> = {
  FP16: { bytes: 2, tolerance: 1e-2, read: (view, at) => decodeHalf(view.getUint16(at, true)) },
  FP32: { bytes: 4, tolerance: 1e-3, read: (view, at) => view.getFloat32(at, true) },
  FP64: { bytes: 8, tolerance: 1e-6, read: (view, at) => view.getFloat64(at, true) },
};

/** Why a ModelInfer answer is not the expected one, in a sentence; undefined when it is. */
export function compareAnswer(body: Uint8Array, expected: readonly Tensor[]): string | undefined {
  const { outputs } = decodeInferResponse(asBuffer(body));
  if (outputs.length !== expected.length) {
    return `The answer has ${outputs.length} outputs, not ${expected.length}`;
  }
  for (const want of expected) {
    const got = outputs.find((output) => output.name === want.name);
    if (got === undefined) return `The answer has no output "${want.name}"`;
    if (got.datatype !== want.datatype || shapeText(got.shape) !== shapeText(want.shape)) {
      return (
        `Output "${want.name}" is ${got.datatype} ${shapeText(got.shape)}, ` +
        `not ${want.datatype} ${shapeText(want.shape)}`
      );
    }
    const complaint = compareData(got, want);
    if (complaint !== undefined) return complaint;
  }
  return undefined;
}

function compareData(got: Tensor, want: Tensor): string | undefined {
  if (asBuffer(got.data).equals(want.data)) return undefined;
  const reader = floats[want.datatype];
  if (reader === undefined || got.data.length !== want.data.length) {
    return `Output "${want.name}" differs from the answer to the same request sent alone`;
  }
  const gotView = viewOf(got.data);
  const wantView = viewOf(want.data);
  for (let at = 0; at < want.data.length; at += reader.bytes) {
    const a = reader.read(gotView, at);
    const b = reader.read(wantView, at);
    const close = Object.is(a, b) || Math.abs(a - b) <= reader.tolerance * (1 + Math.abs(b));
    if (!close) return `Output "${want.name}" has ${a} as element ${at / reader.bytes}, not ${b}`;
  }
  return undefined;
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
