import type { RunSummary } from '../../point.js';

/** Of the requests that were not refused, the share answered in time; NaN when all were refused. */
export const admittedInTime = ({ attainment, refusedShare }: RunSummary): number =>
  refusedShare < 1 ? attainment / (1 - refusedShare) : Number.NaN;

/** Of the requests sent, the share that was neither answered in time nor told no: their callers waited in vain. */
export const waitedInVain = ({ attainment, refusedShare }: RunSummary): number =>
  Math.max(0, 1 - attainment - refusedShare);

/** Of the requests sent, the share without a good answer. */
export const failedShare = ({ sent, good }: RunSummary): number => (sent > 0 ? 1 - good / sent : 0);

/**
 * The 99th percentile over all requests, microseconds: one that failed is one that never came, and when more than one
 * in a hundred did, the percentile is infinite.
 */
export const p99OfAllUs = (run: RunSummary): number =>
  failedShare(run) > 0.01 ? Number.POSITIVE_INFINITY : run.latencyUs.p99;
