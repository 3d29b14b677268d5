import type { Random } from '../core/random.js';

/** The instants, in milliseconds from the start, at which an open loop's requests are due; ascending. */
export interface Arrivals {
  nextMs(): number;
}

/**
 * A Poisson process of `ratePerS` arrivals a second: independent exponential gaps. Several such processes side
 * by side are again one, of the summed rate, which is why the rate may be divided among load processes.
 */
export function poissonArrivals(ratePerS: number, random: Random): Arrivals {
  const meanGapMs = 1000 / ratePerS;
  let atMs = 0;
  return {
    nextMs: () => {
      atMs += random.exponential(meanGapMs);
      return atMs;
    },
  };
}
