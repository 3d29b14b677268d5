import type { CloseReason } from '../serving.js';

/** Batches of one kind, and what was in them. */
export interface CloseCount {
  batches: number;
  rows: number;
}

/** Requests that waited while a batch left with room for them, by what kept them out. */
export interface LostCompany {
  /** They had another shape. */
  shape: number;
  /** They asked for another version of the same model. */
  version: number;
  /** More urgent requests that came later went first. */
  priority: number;
}

/** What became of one version's batches and requests since the coordinator knows it. */
export class Tally {
  readonly closes = new Map<CloseReason, CloseCount>();
  readonly lost: LostCompany = { shape: 0, version: 0, priority: 0 };
  /** Refused at the door because their deadline could not be met. */
  refused = 0;
  /** Given up in the queue when it became clear that their deadline could not be met. */
  shed = 0;
  /** Passed their deadline in the queue. */
  expired = 0;
  /** Waited for as long as their queue policy allows. */
  timedOut = 0;

  closed(reason: CloseReason, rows: number): void {
    const count = this.closes.get(reason);
    if (count === undefined) this.closes.set(reason, { batches: 1, rows });
    else {
      count.batches++;
      count.rows += rows;
    }
  }
}
