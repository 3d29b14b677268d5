import { type Random, seededRandom } from '../../core/random.js';

/** Draws one value. Scenarios describe what they want as samplers; the simulation brings the chance. */
export type Sampler<T> = (random: Random) => T;

/** One seed, several independent streams: what is drawn for the load must not shift what is drawn for the faults. */
export const streamOf = (seed: number, stream: number): Random => seededRandom(seed + stream * 0x1_0000_0000);

export const always =
  <T>(value: T): Sampler<T> =>
  () =>
    value;

/** Each value in proportion to its weight. */
export function weighted<T>(choices: readonly (readonly [weight: number, value: T])[]): Sampler<T> {
  const pick = cumulativePick(choices.map(([weight]) => weight));
  return (random) => (choices[pick(random)] as readonly [number, T])[1];
}

/** Draws with one of several samplers, each in proportion to its weight. */
export function blend<T>(choices: readonly (readonly [weight: number, sampler: Sampler<T>])[]): Sampler<T> {
  const pick = weighted(choices);
  return (random) => pick(random)(random);
}

/** Between two bounds, evenly. */
export const uniform =
  (least: number, most: number): Sampler<number> =>
  (random) =>
    least + random.next() * (most - least);

/** Whole numbers between two bounds, both included. */
export const wholeBetween =
  (least: number, most: number): Sampler<number> =>
  (random) =>
    least + random.int(most - least + 1);

/** `sigma` is the standard deviation of the logarithm; half of the values lie below `median`. */
export const logNormal =
  (median: number, sigma: number): Sampler<number> =>
  (random) =>
    median * Math.exp(sigma * gaussian(random));

/** Indices 0 … count − 1, the k-th with a weight of 1 / (k + 1)^exponent. */
export const zipf = (count: number, exponent: number): Sampler<number> => cumulativePick(zipfShares(count, exponent));

/** The shares of all that Zipf's law gives to each of `count`; they add up to 1. */
export function zipfShares(count: number, exponent: number): readonly number[] {
  const weights = Array.from({ length: count }, (_, index) => 1 / (index + 1) ** exponent);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** Standard normal, by Box and Muller. */
function gaussian(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log1p(-random.next()));
  return radius * Math.cos(2 * Math.PI * random.next());
}

function cumulativePick(weights: readonly number[]): Sampler<number> {
  let total = 0;
  const upTo = weights.map((weight) => {
    total += weight;
    return total;
  });
  return (random) => {
    const drawn = random.next() * total;
    let low = 0;
    let high = upTo.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((upTo[middle] as number) > drawn) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
