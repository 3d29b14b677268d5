/**
 * Batch sizes worth running before a version is ready, largest first: the most rows, the preferred ones, powers of
 * two and one. Empty for a model that does not batch.
 */
export function warmUpRowCounts(maxBatchSize: number, preferredRows: readonly number[]): number[] {
  if (maxBatchSize <= 0) return [];
  const counts = new Set([maxBatchSize, ...preferredRows.filter((rows) => rows >= 1 && rows <= maxBatchSize)]);
  for (let rows = 1; rows < maxBatchSize; rows *= 2) counts.add(rows);
  return [...counts].sort((a, b) => b - a);
}
