import type { Spread } from './spread.js';

/** Grouped by thousands; fewer decimals the larger it is. */
export function countText(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}

export const spreadText = ({ median, min, max }: Spread): string =>
  min === max ? countText(median) : `${countText(median)} (${countText(min)}–${countText(max)})`;

/** Milliseconds of so many microseconds: three significant digits, never an exponent. */
export const msText = (us: number): string =>
  (us / 1000).toLocaleString('en-US', { maximumSignificantDigits: 3, useGrouping: false });

export const percentText = (share: number): string => `${(share * 100).toFixed(1)} %`;
