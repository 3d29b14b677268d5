import type { Datatype } from '../../core/datatype.js';
import type { Element } from './elements.js';

/** A tensor as a file holds it, before it is fitted to a model's input. */
export interface FileTensor {
  /** As written in the file; empty when the format has no names. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly content: /** Little-endian, row-major bytes of a known datatype. */
    | { readonly kind: 'bytes'; readonly datatype: Datatype; readonly data: Uint8Array }
    /** Numbers written in decimal, which take on whatever datatype is wanted. */
    | { readonly kind: 'values'; readonly elements: readonly Element[] };
}

/** Eight bits a sample, row by row. */
export interface Image {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue; alpha is already laid over white. */
  readonly rgb: Uint8Array;
}

export type FileContent =
  | { readonly kind: 'tensors'; readonly tensors: readonly FileTensor[] }
  | { readonly kind: 'image'; readonly image: Image };
