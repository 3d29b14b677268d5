/** A worker that could take a batch: what it runs now and how much it runs at a time. */
export interface Candidate {
  readonly workerId: string;
  /** Instances that can run a batch now. */
  readonly slots: number;
  /** Batches sent and not yet answered. */
  readonly outstanding: number;
}

/**
 * The candidate with the least load per slot; among equals the one after `lastPicked` in order, so that
 * equal workers take turns. `avoid` is chosen only when there is no other.
 */
export function pickLeastOutstanding<C extends Candidate>(
  candidates: Iterable<C>,
  avoid: string,
  lastPicked: string,
): C | undefined {
  let best: C | undefined;
  let bestLoad = 0;
  let bestPassed = false;
  for (const candidate of candidates) {
    const avoided = candidate.workerId === avoid ? 1e6 : 0;
    const load = candidate.outstanding / candidate.slots + avoided;
    const passed = candidate.workerId > lastPicked;
    const better =
      best === undefined ||
      load < bestLoad ||
      (load === bestLoad && (passed === bestPassed ? candidate.workerId < best.workerId : passed));
    if (!better) continue;
    best = candidate;
    bestLoad = load;
    bestPassed = passed;
  }
  return best;
}
