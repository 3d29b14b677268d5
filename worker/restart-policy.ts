import type { Random } from '../core/random.js';

export interface RestartSettings {
  /** Wait before the first restart, in milliseconds; doubles with every further crash. */
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** So many crashes within the window, without one good batch between them, and the version is quarantined. */
  readonly crashLimit: number;
  readonly crashWindowMs: number;
}

export const defaultRestartSettings: RestartSettings = {
  baseDelayMs: 100,
  maxDelayMs: 30_000,
  crashLimit: 5,
  crashWindowMs: 60_000,
};

/** Crashes of one version since its last good batch. */
export interface CrashHistory {
  /** Instants of the crashes within the window, oldest first. */
  readonly recentMs: readonly number[];
  readonly inARow: number;
}

export const noCrashes: CrashHistory = { recentMs: [], inARow: 0 };

export type RestartDecision =
  | { readonly kind: 'restart'; readonly delayMs: number }
  | { readonly kind: 'quarantine'; readonly crashes: number };

/**
 * What to do after a crash at `nowMs`. The delay is exponential with equal jitter (half fixed, half random), so that
 * instances that fell together do not rise together.
 */
export function afterCrash(
  history: CrashHistory,
  nowMs: number,
  settings: RestartSettings,
  random: Random,
): { readonly history: CrashHistory; readonly decision: RestartDecision } {
  const recentMs = [...history.recentMs.filter((atMs) => atMs > nowMs - settings.crashWindowMs), nowMs];
  const inARow = history.inARow + 1;
  if (recentMs.length >= settings.crashLimit) {
    return { history: { recentMs, inARow }, decision: { kind: 'quarantine', crashes: recentMs.length } };
  }
  const fullMs = Math.min(settings.maxDelayMs, settings.baseDelayMs * 2 ** Math.min(inARow - 1, 30));
  const delayMs = fullMs / 2 + (random.next() * fullMs) / 2;
  return { history: { recentMs, inARow }, decision: { kind: 'restart', delayMs } };
}
