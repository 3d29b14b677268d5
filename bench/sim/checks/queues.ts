import type { VersionView, WorkerView } from '../../../coordinator/serving.js';
import type { Blame } from '../referee.js';

/** Queues stay within their limit, and are empty when everything is over. */
export class QueuesCheck {
  readonly #blame: Blame;
  readonly #boundOf: (model: string) => number;
  #longest = 0;

  /** `boundOf`: most rows that may wait for a model, those that come back from lost workers included. */
  constructor(blame: Blame, boundOf: (model: string) => number) {
    this.#blame = blame;
    this.#boundOf = boundOf;
  }

  /** Most rows seen in one queue. */
  get longest(): number {
    return this.#longest;
  }

  looked(versions: readonly Pick<VersionView, 'model' | 'queuedRows'>[]): void {
    for (const { model, queuedRows } of versions) {
      if (queuedRows <= this.#longest) continue;
      this.#longest = queuedRows;
      const bound = this.#boundOf(model);
      if (queuedRows > bound)
        this.#blame('bounded-queues', `${queuedRows} rows wait for ${model}; at most ${bound} may.`);
    }
  }

  /** Load has ended, and time enough has passed since. */
  ended(
    versions: readonly Pick<VersionView, 'model' | 'queuedRows'>[],
    workers: readonly Pick<WorkerView, 'workerId' | 'batchesInFlight'>[],
    openRequests: number,
  ): void {
    for (const { model, queuedRows } of versions)
      if (queuedRows !== 0)
        this.#blame('empty-at-the-end', `${queuedRows} rows still wait for ${model} after the end.`);
    if (openRequests > 0) return;
    for (const { workerId, batchesInFlight } of workers)
      if (batchesInFlight !== 0)
        this.#blame(
          'empty-at-the-end',
          `${batchesInFlight} batches are still booked on ${workerId}, and all requests are answered.`,
        );
  }

  /** Coordinator and workers were shut down. */
  shutDown(pendingTimers: number): void {
    if (pendingTimers > 0) this.#blame('no-timers-left', `${pendingTimers} timers are still set after the shutdown.`);
  }
}
