/** The only source of randomness: seeded, so that every run can be repeated. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, bound). */
  int(bound: number): number;
  /** Exponential with the given mean (same unit as the mean). */
  exponential(mean: number): number;
}

/** sfc32 (Chris Doty-Humphrey, PractRand): 128 bits of state, passes BigCrush, fast in 32-bit arithmetic. */
export function seededRandom(seed: number): Random {
  let a = seed | 0;
  let b = (seed / 0x1_0000_0000) | 0;
  let c = 0x9e3779b9;
  let d = 1;
  const next32 = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) next32();
  const next = (): number => next32() / 0x1_0000_0000;
  return {
    next,
    int: (bound) => Math.floor(next() * bound),
    exponential: (mean) => -Math.log1p(-next()) * mean,
  };
}

/** A seed nobody chose: for production jitter only. */
export const freshSeed = (): number => Math.floor(Math.random() * 0x1_0000_0000);
