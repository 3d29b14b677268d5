import type { LatencySummary } from './latency-histogram.js';
import { msText, percentText } from './number-text.js';
import { type ErrorTally, isShedding } from './recorder.js';

/** May the numbers of a run be believed? `reasons` are whole sentences; empty when valid. */
export interface Verdict {
  readonly valid: boolean;
  readonly reasons: readonly string[];
}

export interface Evidence {
  /** The load process waits by spinning: that it is always busy says nothing. */
  readonly spins: boolean;
  readonly hasDeadline: boolean;
  readonly good: number;
  readonly errors: Readonly<Record<string, ErrorTally>>;
  readonly latencyUs: LatencySummary;
  readonly sendLagUs: LatencySummary;
  /** Of the busiest load process, 0…1. */
  readonly loopUtilisation: number;
  readonly cpuUtilisation: number;
  /** The longest time for which a load process did not get to run. */
  readonly stallMs: number;
  readonly windowMs: number;
}

/** A 99th percentile rests on one sample in a hundred; below this it is the maximum. */
const fewestSamples = 100;
/** Above this the load process has no time left and answers wait for it. */
const mostUtilisation = 0.9;
/** A load process may be kept from running for this long, or for this share of the window. */
const stallFloorMs = 250;
const stallShare = 0.05;
/** The harness may be late by this much, or by this share of the latency it reports. */
const lagFloorUs = 2_000;
const lagShare = 0.1;

export function judge(evidence: Evidence): Verdict {
  const { errors, good, loopUtilisation, cpuUtilisation, sendLagUs, latencyUs } = evidence;
  const reasons: string[] = [];
  for (const [code, { count, first }] of Object.entries(errors)) {
    if (evidence.hasDeadline && isShedding(code)) continue;
    reasons.push(`${count} requests ended in ${code}: ${first || 'no message'}.`);
  }
  if (good < fewestSamples) {
    reasons.push(`Only ${good} good answers; percentiles need at least ${fewestSamples}: use a longer --duration.`);
  }
  const utilisation = Math.max(loopUtilisation, cpuUtilisation);
  if (!evidence.spins && utilisation > mostUtilisation) {
    reasons.push(
      `The harness is the wall: its busiest process was ${percentText(utilisation)} in use; add --processes, on cores of their own.`,
    );
  }
  const { stallMs, windowMs } = evidence;
  if (stallMs > Math.max(stallFloorMs, windowMs * stallShare)) {
    reasons.push(
      `The harness stood still for ${stallMs.toFixed(0)} ms: others use its cores, or its own work blocks it; give it cores of its own with --cpus.`,
    );
  }
  const mostLagUs = Math.max(lagFloorUs, latencyUs.p99 * lagShare);
  if (sendLagUs.p99 > mostLagUs) {
    reasons.push(
      `The harness is the wall: it sent late, by ${msText(sendLagUs.p99)} ms at the 99th percentile where ${msText(mostLagUs)} ms is allowed; add --processes.`,
    );
  }
  return { valid: reasons.length === 0, reasons };
}
