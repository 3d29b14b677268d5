import type { BatchingRule } from '../core/model.js';

/**
 * Batch sizes worth running before a version is ready, largest first: the fixed ones where there are any, because no
 * others run; else the most rows, the preferred ones, powers of two and one. Empty for a model that does not batch.
 */
export function warmUpRowCounts(
  maxBatchSize: number,
  { preferredRows, fixedRows }: Pick<BatchingRule, 'preferredRows' | 'fixedRows'>,
): number[] {
  if (maxBatchSize <= 0) return [];
  if (fixedRows.length > 0) return [...fixedRows].sort((a, b) => b - a);
  const counts = new Set([maxBatchSize, ...preferredRows.filter((rows) => rows >= 1 && rows <= maxBatchSize)]);
  for (let rows = 1; rows < maxBatchSize; rows *= 2) counts.add(rows);
  return [...counts].sort((a, b) => b - a);
}
