import { ShoalError } from '../core/errors.js';

const unitMs: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Milliseconds of a text such as `10s`, `500ms`, `1.5m`; a bare number means seconds.
 * @throws BAD_SETTING, naming `setting`
 */
export function parseDurationMs(setting: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(us|ms|s|m|h)?$/.exec(text.trim());
  const scale = match === null ? undefined : unitMs[match[2] ?? 's'];
  if (match === null || scale === undefined) {
    throw new ShoalError('BAD_SETTING', `${setting} wants a duration such as 10s, 500ms or 2m, and got "${text}".`);
  }
  return Number(match[1]) * scale;
}

/** As `parseDurationMs`, and longer than nothing. @throws BAD_SETTING */
export function parsePositiveDurationMs(setting: string, text: string): number {
  const ms = parseDurationMs(setting, text);
  if (ms > 0) return ms;
  throw new ShoalError('BAD_SETTING', `${setting} must be longer than nothing, and got "${text}".`);
}
