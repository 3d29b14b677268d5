import type { TimingReceipt } from '../../core/inference.js';
import type { BatchResult } from '../../core/link.js';
import type { BatchSpan } from '../../platform/telemetry/tracing.js';
import type { LaneRun } from '../scheduling/lane.js';
import type { CallPiece } from './call.js';

/** A batch between its dispatch and its result. */
export interface InFlight {
  readonly batchId: number;
  readonly laneKey: string;
  readonly workerId: string;
  readonly pieces: readonly CallPiece[];
  readonly rows: number;
  /** With the empty ones that fill up a fixed size. */
  readonly executedRows: number;
  readonly dispatchedMs: number;
  readonly freeSinceMs: number;
  readonly run: LaneRun;
  readonly span: BatchSpan;
}

/** Where the time of one piece of an executed batch went. */
export function receiptOf(batch: InFlight, piece: CallPiece, { timing, instance }: BatchResult): TimingReceipt {
  const { arrivedMs } = piece.call.context;
  const batchWaitMs = Math.max(0, batch.dispatchedMs - Math.max(arrivedMs, piece.enqueuedMs, batch.freeSinceMs));
  return {
    queueUs: (batch.dispatchedMs - arrivedMs - batchWaitMs) * 1000 + timing.waitUs,
    batchWaitUs: batchWaitMs * 1000,
    inputUs: timing.inputUs,
    executeUs: timing.executeUs,
    outputUs: timing.outputUs,
    batchRows: batch.rows,
    paddedRows: batch.executedRows - batch.rows,
    version: piece.call.spec.version,
    worker: batch.workerId,
    instance,
    attempt: piece.attempt,
  };
}
