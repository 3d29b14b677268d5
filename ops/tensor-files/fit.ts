import { ShoalError } from '../../core/errors.js';
import { shapeText, type Tensor, type TensorSpec } from '../../core/tensor.js';
import { decodeElements, encodeElements } from './elements.js';
import type { FileTensor } from './file-tensor.js';

export interface Fitted {
  readonly tensor: Tensor;
  /** What was changed to make it fit, in words. */
  readonly notes: readonly string[];
}

/**
 * Fits a tensor from a file to a model's input: adds leading axes of one where the model has more, and converts
 * the datatype when no value changes.
 * @throws BAD_FILE saying what the input takes and what the file holds.
 */
export function fitTensor(file: FileTensor, spec: TensorSpec, label: string): Fitted {
  const notes: string[] = [];
  const shape = fitShape(file.shape, spec.shape);
  if (shape === undefined) {
    throw new ShoalError(
      'BAD_FILE',
      `${label} has shape ${shapeText(file.shape)}; input ${spec.name} takes ${shapeText(spec.shape)}, where -1 is any size.`,
    );
  }
  if (shape.length !== file.shape.length) notes.push(`shape ${shapeText(file.shape)} sent as ${shapeText(shape)}`);
  const { content } = file;
  if (content.kind === 'bytes' && content.datatype === spec.datatype) {
    return { tensor: { name: spec.name, datatype: spec.datatype, shape, data: content.data }, notes };
  }
  const isBytes = content.kind === 'bytes';
  const elements = isBytes ? decodeElements(content.datatype, content.data) : content.elements;
  const data = encodeElements(spec.datatype, elements, isBytes ? 'exact' : 'nearest', label);
  if (isBytes) notes.push(`${content.datatype} sent as ${spec.datatype}`);
  return { tensor: { name: spec.name, datatype: spec.datatype, shape, data }, notes };
}

/** The file's shape with leading ones added where the model has more axes; undefined when it cannot fit. */
export function fitShape(shape: readonly number[], wanted: readonly number[]): readonly number[] | undefined {
  const missing = wanted.length - shape.length;
  if (missing < 0) return undefined;
  const padded = [...Array.from({ length: missing }, () => 1), ...shape];
  return padded.every((dim, axis) => wanted[axis] === -1 || wanted[axis] === dim) ? padded : undefined;
}
