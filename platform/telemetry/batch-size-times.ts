import type { TimingReceipt } from '../../core/inference.js';

/** Executions of one batch size. Counts are fractions while only some of a batch's requests have been answered. */
export interface BatchSizeTotals {
  executions: number;
  inputUs: number;
  executeUs: number;
  outputUs: number;
}

/** More sizes than this of one version have no numbers of their own. */
const maxSizes = 256;

/** What batches of each size took, added up from the receipts of the requests in them. */
export class BatchSizeTimes {
  readonly #bySize = new Map<number, BatchSizeTotals>();

  /**
   * One answered request of so many rows. It stands for its share of the batch, so that a batch counts once, however
   * many requests it was made of. A request that was cut into several batches tells of the last of them only.
   */
  add(rows: number, { batchRows, paddedRows, inputUs, executeUs, outputUs }: TimingReceipt): void {
    const size = batchRows + paddedRows;
    let totals = this.#bySize.get(size);
    if (totals === undefined) {
      if (this.#bySize.size >= maxSizes) return;
      totals = { executions: 0, inputUs: 0, executeUs: 0, outputUs: 0 };
      this.#bySize.set(size, totals);
    }
    const share = rows < batchRows ? rows / batchRows : 1;
    totals.executions += share;
    totals.inputUs += share * inputUs;
    totals.executeUs += share * executeUs;
    totals.outputUs += share * outputUs;
  }

  /** Sizes seen, ascending. */
  entries(): (readonly [size: number, totals: Readonly<BatchSizeTotals>])[] {
    return [...this.#bySize].sort(([a], [b]) => a - b);
  }
}
