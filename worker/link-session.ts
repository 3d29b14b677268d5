import { ShoalError } from '../core/errors.js';
import type { Batch, LinkEvents, LinkSession, ToCoordinator, ToWorker } from '../core/link.js';
import { versionKey } from '../core/model.js';
import type { CancelBatch } from './instance-pool.js';
import type { VersionHost } from './version-host.js';

/** What a session asks of its worker. */
export interface SessionHome {
  readonly draining: boolean;
  hello(): ToCoordinator;
  host(model: string, version: string): VersionHost | undefined;
  left(session: WorkerSession): void;
}

/** One coordinator's conversation with this worker. Nothing of it survives its close. */
export class WorkerSession implements LinkSession {
  readonly #home: SessionHome;
  readonly #events: LinkEvents;
  readonly #batches = new Map<number, { readonly key: string; readonly cancel: CancelBatch }>();
  readonly #countByVersion = new Map<string, number>();
  #state: 'opening' | 'open' | 'closed' = 'opening';

  constructor(home: SessionHome, events: LinkEvents) {
    this.#home = home;
    this.#events = events;
    // Events never come before `open` has returned, and `hello` is the first of them.
    queueMicrotask(() => {
      if (this.#state !== 'opening') return;
      this.#state = 'open';
      this.#events.message(home.hello());
    });
  }

  /** News of this worker. Before `hello` there is nothing to tell: it will be a whole snapshot. */
  tell(message: ToCoordinator): void {
    if (this.#state === 'open') this.#events.message(message);
  }

  send(message: ToWorker): void {
    if (this.#state === 'closed') return;
    if (message.kind === 'execute') this.#execute(message.batch);
    else this.#batches.get(message.batchId)?.cancel();
  }

  close(): void {
    this.end('closed by the coordinator');
  }

  /** Gives up whatever the coordinator still had here; its answers would reach nobody. */
  end(reason: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#home.left(this);
    for (const { cancel } of this.#batches.values()) cancel();
    this.#batches.clear();
    queueMicrotask(() => this.#events.closed(reason));
  }

  #execute(batch: Batch): void {
    const host = this.#home.host(batch.model, batch.version);
    const key = versionKey(batch.model, batch.version);
    const count = this.#countByVersion.get(key) ?? 0;
    const refusal = this.#refusal(batch, host, key, count);
    if (host === undefined || refusal !== undefined) {
      const { code, message, kind } = refusal ?? ShoalError.from('no host');
      const failure = { batchId: batch.batchId, error: { code, message }, retryable: kind.retryable };
      queueMicrotask(() => this.tell({ kind: 'failure', failure }));
      return;
    }
    this.#countByVersion.set(key, count + 1);
    const cancel = host.submit(batch, (reply) => {
      this.#batches.delete(batch.batchId);
      this.#countByVersion.set(key, (this.#countByVersion.get(key) ?? 1) - 1);
      this.tell(reply);
    });
    this.#batches.set(batch.batchId, { key, cancel });
  }

  #refusal(batch: Batch, host: VersionHost | undefined, key: string, count: number): ShoalError | undefined {
    if (this.#home.draining) return new ShoalError('DRAINING', 'The worker is draining and takes nothing new.');
    if (host === undefined) return new ShoalError('MODEL_NOT_READY', `The worker does not hold the version ${key}.`);
    if (count >= host.batchLimit) {
      return new ShoalError(
        'QUEUE_FULL',
        `The worker already has ${count} batches of ${key} from this coordinator, which is its limit.`,
      );
    }
    if (this.#batches.has(batch.batchId)) {
      return new ShoalError('INTERNAL', `The batch id ${batch.batchId} is already in use by this coordinator.`);
    }
    return undefined;
  }
}
