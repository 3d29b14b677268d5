import { ShoalError } from '../../../core/errors.js';

/** What must hold of a service. */
export type Objective =
  /** That share (0–1) of all requests is answered within `limitMs`; a refused one is later than any limit. */
  | { readonly kind: 'latency'; readonly share: number; readonly limitMs: number; readonly text: string }
  /** At least this share (0–1) of all requests is answered well within its deadline. */
  | { readonly kind: 'goodput'; readonly share: number; readonly text: string };

/** What became of one request, as far as objectives go. */
export interface Outcome {
  /** From the beginning of the load, milliseconds. */
  readonly sentMs: number;
  /** Infinity: refused. */
  readonly latencyMs: number;
  readonly isInTime: boolean;
}

const latencyForm = /^p(\d{1,2}(?:\.\d+)?)\s*(?:<|<=|≤)\s*(\d+(?:\.\d+)?)\s*(ms|s)$/i;
const goodputForm = /^goodput\s*(?:>|>=|≥)\s*(\d+(?:\.\d+)?)\s*%$/i;

/**
 * Reads `p99<100ms`, `p50<=0.2s`, `goodput>=99.9%`, several parted by commas.
 * @throws BAD_SETTING
 */
export function parseObjectives(texts: readonly string[]): readonly Objective[] {
  return texts.flatMap((text) => text.split(',')).map((text) => parseObjective(text.trim()));
}

/** 99.9 / 100 is a little more than 0.999 in binary: 999 of 1,000 would not be enough. */
const shareOf = (percent: number): number => Number((percent / 100).toPrecision(12));

function parseObjective(text: string): Objective {
  const latency = latencyForm.exec(text);
  if (latency !== null) {
    const [, percent = '', limit = '', unit = ''] = latency;
    const limitMs = Number(limit) * (unit.toLowerCase() === 's' ? 1000 : 1);
    if (Number(percent) > 0 && limitMs > 0)
      return { kind: 'latency', share: shareOf(Number(percent)), limitMs, text: `p${percent} ≤ ${limitMs} ms` };
  }
  const goodput = Number(goodputForm.exec(text)?.[1] ?? Number.NaN);
  if (goodput > 0 && goodput <= 100)
    return { kind: 'goodput', share: shareOf(goodput), text: `goodput ≥ ${goodput} %` };
  throw new ShoalError(
    'BAD_SETTING',
    `--slo wants objectives such as p99<100ms or goodput>=99.9%, parted by commas, and got "${text}".`,
  );
}

/**
 * The latency within which `share` of the requests were answered (nearest rank), milliseconds; Infinity when more than
 * the others were refused, 0 without requests.
 */
export function latencyAt(outcomes: readonly Outcome[], share: number): number {
  const sorted = Float64Array.from(outcomes, ({ latencyMs }) => latencyMs).sort();
  const rank = Math.ceil(share * sorted.length - 1e-9);
  return sorted[Math.max(0, rank - 1)] ?? 0;
}

/** Share of requests answered well and in time; 1 without requests. */
export function inTimeShare(outcomes: readonly Outcome[]): number {
  let inTime = 0;
  for (const { isInTime } of outcomes) if (isInTime) inTime++;
  return outcomes.length === 0 ? 1 : inTime / outcomes.length;
}

export const isMet = (objective: Objective, outcomes: readonly Outcome[]): boolean =>
  objective.kind === 'latency'
    ? latencyAt(outcomes, objective.share) <= objective.limitMs
    : inTimeShare(outcomes) >= objective.share;

export const areMet = (objectives: readonly Objective[], outcomes: readonly Outcome[]): boolean =>
  objectives.every((objective) => isMet(objective, outcomes));
