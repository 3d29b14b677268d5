import type { ProfilePoint } from '../../core/model.js';

/** ℓ(rows): what one execution of so many rows takes on a device that does nothing else, milliseconds. */
export interface LatencyProfile {
  msOf(rows: number): number;
  /** As a person would write it. */
  readonly text: string;
}

/** `fixedMs + perRowMs · rows` */
export const linearProfile = (fixedMs: number, perRowMs: number): LatencyProfile => ({
  msOf: (rows) => fixedMs + perRowMs * rows,
  text: `${shortNumber(fixedMs)}+${shortNumber(perRowMs)}*rows`,
});

/**
 * Straight lines between measured points (ascending by rows, at least one), from no rows in proportion to the first
 * point, and on beyond the last in its own proportion where there is but one point, else along the last line.
 */
export function measuredProfile(points: readonly ProfilePoint[]): LatencyProfile {
  const known = points.length === 1 ? [{ rows: 0, ms: 0 }, ...points] : points;
  return {
    msOf(rows) {
      let index = 1;
      while (index < known.length - 1 && (known[index] as ProfilePoint).rows < rows) index++;
      const from = known[index - 1] as ProfilePoint;
      const to = known[index] as ProfilePoint;
      const ms = from.ms + ((to.ms - from.ms) * (rows - from.rows)) / (to.rows - from.rows);
      return Math.max(ms, 0);
    },
    text: points.map(({ rows, ms }) => `${rows}:${shortNumber(ms)}`).join(' '),
  };
}

/** The sizes at which a profile is told to a coordinator: powers of two up to `maxRows`, and that. */
export function profilePoints(profile: LatencyProfile, maxRows: number): readonly ProfilePoint[] {
  const points: ProfilePoint[] = [];
  for (let rows = 1; rows < maxRows; rows *= 2) points.push({ rows, ms: profile.msOf(rows) });
  points.push({ rows: maxRows, ms: profile.msOf(maxRows) });
  return points;
}

const shortNumber = (value: number): string => String(Number(value.toPrecision(4)));
