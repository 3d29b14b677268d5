import { ShoalError } from '../../core/errors.js';
import { shapeText, type Tensor, type TensorSpec } from '../../core/tensor.js';
import { closestName } from '../../platform/settings/closest-name.js';
import type { FileContent, FileTensor } from '../tensor-files/file-tensor.js';
import { fitTensor } from '../tensor-files/fit.js';
import { type ImageOptions, imageTensor } from '../tensor-files/image-tensor.js';

/** An `--input` as written, split where it names an input of the model. */
export interface InputArgument {
  /** Empty when it names none. */
  readonly input: string;
  readonly file: string;
}

/** One call to be made. */
export interface PlannedRequest {
  /** The files it was made from. */
  readonly label: string;
  readonly tensors: readonly Tensor[];
  /** What was changed on the way from file to tensor, in words. */
  readonly notes: readonly string[];
}

/**
 * Splits `NAME=FILE`. A file may have a `=` in its name: then what stands before it is no input of the model.
 * @throws BAD_FILE when NAME is no input and no such file exists.
 */
export function splitArgument(
  written: string,
  inputs: readonly TensorSpec[],
  exists: (file: string) => boolean,
): InputArgument {
  const at = written.indexOf('=');
  if (at < 0) return { input: '', file: written };
  const name = written.slice(0, at);
  if (inputs.some((spec) => spec.name === name)) return { input: name, file: written.slice(at + 1) };
  if (exists(written)) return { input: '', file: written };
  const near = closestName(
    name,
    inputs.map((spec) => spec.name),
  );
  throw new ShoalError(
    'BAD_FILE',
    `The model has no input "${name}"; its inputs are ${inputsText(inputs)}${near === undefined ? '' : ` (did you mean ${near}?)`}.`,
  );
}

export const inputsText = (inputs: readonly TensorSpec[]): string =>
  inputs.length === 0
    ? 'none'
    : inputs.map((spec) => `${spec.name} (${spec.datatype} ${shapeText(spec.shape)})`).join(', ');

interface Piece {
  readonly argument: InputArgument;
  readonly content: FileContent;
}

/**
 * Turns files into calls. A model of one input gets one call a file, so that several files are several callers;
 * a model of several inputs gets one call, its inputs filled by name and then in order.
 * @throws BAD_FILE
 */
export function planRequests(
  inputs: readonly TensorSpec[],
  pieces: readonly Piece[],
  options: ImageOptions,
): readonly PlannedRequest[] {
  const only = inputs[0];
  if (only === undefined) {
    if (pieces.length > 0) throw new ShoalError('BAD_FILE', 'The model has no inputs; leave --input out.');
    return [{ label: 'no input', tensors: [], notes: [] }];
  }
  if (pieces.length === 0) {
    throw new ShoalError('BAD_FILE', `No --input was given; the model's inputs are ${inputsText(inputs)}.`);
  }
  if (inputs.length === 1) {
    return pieces.map(({ argument, content }) => {
      if (content.kind === 'tensors' && content.tensors.length > 1) {
        throw new ShoalError(
          'BAD_FILE',
          `${argument.file} holds ${content.tensors.length} tensors; the model has one input, ${inputsText(inputs)}.`,
        );
      }
      const { tensor, notes } = fitContent(content, only, options, argument.file);
      return { label: argument.file, tensors: [tensor], notes };
    });
  }
  return [oneRequest(inputs, pieces, options)];
}

function oneRequest(inputs: readonly TensorSpec[], pieces: readonly Piece[], options: ImageOptions): PlannedRequest {
  const filled = new Map<string, { readonly content: FileContent; readonly label: string }>();
  const unnamed: { readonly content: FileContent; readonly label: string }[] = [];
  const place = (name: string, content: FileContent, label: string): void => {
    if (filled.has(name))
      throw new ShoalError('BAD_FILE', `Input ${name} is given twice, the second time by ${label}.`);
    filled.set(name, { content, label });
  };
  const known = (name: string): boolean => inputs.some((spec) => spec.name === name);
  for (const { argument, content } of pieces) {
    const parts: readonly FileContent[] =
      content.kind === 'image' ? [content] : content.tensors.map((tensor) => ({ kind: 'tensors', tensors: [tensor] }));
    for (const part of parts) {
      const ownName = part.kind === 'tensors' ? (part.tensors[0]?.name ?? '') : '';
      const name = argument.input !== '' ? argument.input : ownName;
      if (known(name)) place(name, part, argument.file);
      else if (parts.length > 1) {
        throw new ShoalError(
          'BAD_FILE',
          `${argument.file}: the model has no input "${name}"; its inputs are ${inputsText(inputs)}.`,
        );
      } else unnamed.push({ content: part, label: argument.file });
    }
  }
  for (const { content, label } of unnamed) {
    const next = inputs.find((spec) => !filled.has(spec.name));
    if (next === undefined)
      throw new ShoalError('BAD_FILE', `${label} is one file too many; the model's inputs are ${inputsText(inputs)}.`);
    place(next.name, content, label);
  }
  const missing = inputs.filter((spec) => !filled.has(spec.name));
  if (missing.length > 0) {
    throw new ShoalError('BAD_FILE', `Nothing was given for ${inputsText(missing)}; add --input NAME=FILE for each.`);
  }
  const notes: string[] = [];
  const tensors = inputs.flatMap((spec) => {
    const found = filled.get(spec.name);
    if (found === undefined) return [];
    const fitted = fitContent(found.content, spec, options, found.label);
    notes.push(...fitted.notes.map((note) => `${spec.name}: ${note}`));
    return [fitted.tensor];
  });
  return { label: pieces.map(({ argument }) => argument.file).join(' '), tensors, notes };
}

function fitContent(content: FileContent, spec: TensorSpec, options: ImageOptions, label: string) {
  if (content.kind === 'image') {
    const { tensor, notes } = imageTensor(content.image, spec, options, label);
    return { tensor: fitTensor(tensor, spec, label).tensor, notes };
  }
  const [tensor] = content.tensors;
  if (tensor === undefined) throw new ShoalError('BAD_FILE', `${label} holds no tensor.`);
  return fitTensor(tensor satisfies FileTensor, spec, label);
}
