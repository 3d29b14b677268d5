import type { Random } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { bytesOfStrings } from './recorded-vectors.js';

export interface IdentifiedRequest {
  readonly model: string;
  readonly input: Tensor;
  readonly rows: number;
  /** The only right answer, bit for bit. */
  readonly expected: Tensor;
}

/** Generated models whose right answer follows from the request. */
export type IdentityModel = 'affine' | 'wide' | 'bytes';

const largeRequest = 0.02;

/**
 * Requests no two of which share a value: whoever gets one element of somebody else's answer has the wrong number.
 * Most have 1 to 8 rows; one in fifty has more rows than a batch may have and must be split.
 */
export class IdentityTraffic {
  readonly #random: Random;
  /** Of `2x + 1` in FP32 every whole x below 2^23 has an exact answer of its own. */
  #nextValue = 1;
  #nextText = 0;

  readonly #models: readonly IdentityModel[];

  constructor(random: Random, models: readonly IdentityModel[] = ['affine', 'wide', 'bytes']) {
    this.#random = random;
    this.#models = models;
  }

  next(): IdentifiedRequest {
    const rows = this.#random.next() < largeRequest ? 65 + this.#random.int(150) : 1 + this.#random.int(8);
    switch (this.#models[this.#random.int(this.#models.length)]) {
      case 'bytes':
        return this.#bytes(rows);
      case 'affine':
        return this.#affine('affine', rows, 4);
      default:
        return this.#affine('wide', rows, this.#random.next() < 0.5 ? 3 : 5);
    }
  }

  #affine(model: string, rows: number, width: number): IdentifiedRequest {
    const x = Float32Array.from({ length: rows * width }, () => this.#nextValue++);
    if (this.#nextValue > 2 ** 23) throw new Error('the identities are used up');
    const shape = [rows, width];
    const tensor = (name: string, values: Float32Array): Tensor => {
      return { name, datatype: 'FP32', shape, data: new Uint8Array(values.buffer) };
    };
    return {
      model,
      rows,
      input: tensor('x', x),
      expected: tensor(
        'y',
        x.map((value) => 2 * value + 1),
      ),
    };
  }

  #bytes(rows: number): IdentifiedRequest {
    const texts = Array.from({ length: rows }, () => `№${this.#nextText++}${'·x'.repeat(this.#random.int(40))}`);
    const data = bytesOfStrings(texts);
    const tensor = (name: string): Tensor => ({ name, datatype: 'BYTES', shape: [rows, 1], data });
    return { model: 'bytes', rows, input: tensor('x'), expected: tensor('y') };
  }
}

/** Why `got` is not the answer expected; undefined when it is, bit for bit. */
export function wrongness(got: Tensor | undefined, { expected }: IdentifiedRequest): string | undefined {
  if (got === undefined) return 'there is no output';
  const head = ({ name, datatype, shape }: Tensor): string => `${name} ${datatype} [${shape.join(',')}]`;
  if (head(got) !== head(expected)) return `the output is ${head(got)}, expected ${head(expected)}`;
  if (Buffer.compare(got.data, expected.data) === 0) return undefined;
  const at = expected.data.findIndex((byte, i) => byte !== got.data[i]);
  return `byte ${at} of ${expected.data.length} (${got.data.length} came) is another's`;
}
