import type { ErrorCode } from '../../core/errors.js';
import type { SimModel } from './rows.js';

/** One call as its caller knows it. */
export interface SimRequest {
  /** From 1, in the order of asking; every row carries it. */
  readonly id: number;
  readonly model: SimModel;
  readonly caller: string;
  readonly rows: number;
  /** Words of one row: requests of other widths cannot share a batch. */
  readonly width: number;
  /** 0: says nothing of it. */
  readonly priority: number;
  readonly sentMs: number;
  /** Infinity: none. */
  readonly deadlineMs: number;
  state: 'asking' | 'waiting' | 'answered' | 'failed';
  /** The caller hung up. */
  isCancelled: boolean;
  /** Batches with rows of it that were handed over to workers so far. */
  timesSent: number;
  /** Rows that are with a worker now. */
  rowsOut: number;
}

/** What became of a request. */
export interface SimAnswer {
  readonly request: SimRequest;
  readonly latencyMs: number;
  /** Undefined: answered well. */
  readonly code: ErrorCode | undefined;
  readonly isInTime: boolean;
  /** Rows that ran together with it; 0 for a failure. */
  readonly batchRows: number;
}
