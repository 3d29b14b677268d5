/**
 * Isotonic regression by pool-adjacent-violators (Ayer, Brunk, Ewing, Reid and Silverman, "An empirical distribution
 * function for sampling with incomplete information", Ann. Math. Stat. 26, 1955): the non-decreasing sequence with the
 * least weighted squared distance to `values`. In place, in time linear in `count`.
 *
 * @param values the first `count` are replaced by the result
 * @param weights positive, one for each value; overwritten, scratch afterwards
 */
export function makeMonotone(values: Float64Array, weights: Float64Array, count: number): void {
  // Blocks of equal value: `end[b]` is one past the last index of block b; value and weight lie at the block's number.
  let blocks = 0;
  for (let i = 0; i < count; i++) {
    let value = values[i] ?? 0;
    let weight = weights[i] ?? 0;
    while (blocks > 0 && (values[blocks - 1] ?? 0) > value) {
      blocks--;
      const before = weights[blocks] ?? 0;
      value = ((values[blocks] ?? 0) * before + value * weight) / (before + weight);
      weight += before;
    }
    values[blocks] = value;
    weights[blocks] = weight;
    ends[blocks] = i + 1;
    blocks++;
  }
  let index = count;
  // Backwards, so that no block is overwritten before it has been spread.
  for (let block = blocks - 1; block >= 0; block--) {
    const value = values[block] ?? 0;
    const start = block === 0 ? 0 : (ends[block - 1] ?? 0);
    while (index > start) values[--index] = value;
  }
}

/** Most values `makeMonotone` can take. */
export const isotonicLimit = 128;
const ends = new Uint32Array(isotonicLimit);
