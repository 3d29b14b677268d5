/** A worker that could take a batch now. */
export interface FreeWorker {
  /** Batches it can run at a time. */
  readonly slots: number;
  /** Batches sent to it and not yet answered. */
  readonly outstanding: number;
  /** How much longer batches take there than usual; 1: as long. */
  readonly speed: number;
  /** Grows with every use. */
  readonly lastUsed: number;
}

/** Load times slowness: proportional to when a batch sent now would be done. */
const score = ({ slots, outstanding, speed }: FreeWorker): number => (1 + outstanding / Math.max(1, slots)) * speed;

/** Is `a` the better choice of two free workers? Equals take turns. */
export function finishesFirst(a: FreeWorker, b: FreeWorker): boolean {
  const [scoreA, scoreB] = [score(a), score(b)];
  return scoreA === scoreB ? a.lastUsed < b.lastUsed : scoreA < scoreB;
}
