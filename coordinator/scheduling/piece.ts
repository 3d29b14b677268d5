import type { Expiring } from '../../core/deadline-heap.js';
import type { Flow } from './fair-share.js';

/** Where a piece stands: among others of its caller, level and shape. */
export interface Standing {
  readonly flow: Flow;
}

/**
 * What the scheduler needs to know of some rows that wait: all of one request, or one part of a request
 * that has more rows than a batch may hold. The links belong to the line the piece stands in.
 */
export abstract class Piece implements Expiring {
  abstract readonly rows: number;
  /** Requests whose inputs can lie in one batch share a shape key. */
  abstract shapeKey: string;
  /** Instant until which the answer is of use; Infinity: always. */
  abstract readonly deadlineMs: number;
  /** Whose share of the model it uses up. */
  readonly caller: string = '';
  /** Priority level, 1 the most urgent; 0 where the model has none. */
  readonly level: number = 0;
  /** Instant at which it has waited for as long as its queue policy lets it; Infinity: no policy. */
  readonly patienceMs: number = Number.POSITIVE_INFINITY;
  /** When that comes: does it go on waiting, behind all others, instead of leaving? */
  readonly yields: boolean = false;

  /** While it waits: when it leaves its line. While it runs: its deadline. Belongs to the heap it is in. */
  expiresMs = Number.POSITIVE_INFINITY;
  heapIndex = -1;
  enqueuedMs = 0;
  /** Order of arrival. */
  sequence = 0;
  /** 1 for the first try. */
  attempt = 1;
  /** Worker on which the last try failed; another is preferred. Empty: none. */
  avoidWorker = '';
  line: Standing | undefined = undefined;
  next: Piece | undefined = undefined;
  previous: Piece | undefined = undefined;
}
