import type { Tensor } from '../core/tensor.js';
import type { CallerOptions } from './infer-caller.js';

/** One kind of load. Closed: `concurrency` requests always in flight. Open: Poisson arrivals, whatever the server does. */
export type Load =
  | { readonly kind: 'closed'; readonly concurrency: number }
  | { readonly kind: 'open'; readonly ratePerS: number };

/** Requests of one kind within a run. Several groups run at the same time and are counted each for itself. */
export interface LoadGroup {
  /** Empty for the only one. */
  readonly name: string;
  readonly load: Load;
  /** gRPC deadline of each request, counted from when it was due; undefined: none. */
  readonly deadlineMs: number | undefined;
  /** Who the requests come from, drawn anew for each; empty: nobody says. */
  readonly callers: readonly string[];
}

/** How an open loop waits for the next arrival: `spin` burns its core and is exact, `timer` is 1 ms coarse. */
export type Pacing = 'spin' | 'timer';

/** A serialised request and, when answers are to be checked, what it should be answered with. */
export interface Payload {
  readonly body: Buffer;
  readonly expected: readonly Tensor[] | undefined;
}

/** Everything one load process needs to know to do its share of one run. */
export interface LoadJob extends CallerOptions {
  readonly load: Load;
  readonly warmupMs: number;
  readonly durationMs: number;
  /** How long answers are awaited after the window has closed. */
  readonly drainMs: number;
  /** gRPC deadline of each request, counted from when it was due; undefined: none. */
  readonly deadlineMs: number | undefined;
  /** Open loop: arrivals above this many in flight are held back; their wait counts. */
  readonly maxInFlight: number;
  readonly pacing: Pacing;
  /** Used in turn. */
  readonly payloads: readonly Payload[];
}

export const loadText = (load: Load): string =>
  load.kind === 'closed' ? `concurrency ${load.concurrency}` : `rate ${load.ratePerS}/s`;

export const groupText = ({ name, load }: Pick<LoadGroup, 'name' | 'load'>): string =>
  name === '' ? loadText(load) : `${name}, ${loadText(load)}`;

/** Points of one group each, measured one after the other. */
export const pointsOf = (
  loads: readonly Load[],
  deadlineMs?: number,
  callers: readonly string[] = [],
): readonly (readonly LoadGroup[])[] => loads.map((load) => [{ name: '', load, deadlineMs, callers }]);

/** A load process of these groups waits by spinning, and is always busy. */
export const spinsFor = (groups: readonly Pick<LoadGroup, 'load'>[], pacing: Pacing): boolean =>
  pacing === 'spin' && groups.some(({ load }) => load.kind === 'open');

/**
 * The shares of `processes` load processes. A closed loop is not spread over more processes than it has
 * requests in flight.
 */
export function shares(load: Load, processes: number): readonly Load[] {
  if (load.kind === 'open') {
    return Array.from({ length: processes }, () => ({ kind: 'open', ratePerS: load.ratePerS / processes }));
  }
  const count = Math.min(processes, load.concurrency);
  return Array.from({ length: count }, (_, i) => ({
    kind: 'closed',
    concurrency: Math.floor(load.concurrency / count) + (i < load.concurrency % count ? 1 : 0),
  }));
}
