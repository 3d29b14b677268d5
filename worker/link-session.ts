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
  readonly #batches = new Map<number, CancelBatch>();
  /** By version, and by version and device for those that name one. */
  readonly #counts = new Map<string, number>();
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
    else this.#batches.get(message.batchId)?.();
  }

  close(): void {
    this.end('closed by the coordinator');
  }

  /** Gives up whatever the coordinator still had here; its answers would reach nobody. */
  end(reason: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#home.left(this);
    for (const cancel of this.#batches.values()) cancel();
    this.#batches.clear();
    queueMicrotask(() => this.#events.closed(reason));
  }

  #execute(batch: Batch): void {
    const host = this.#home.host(batch.model, batch.version);
    const key = versionKey(batch.model, batch.version);
    const refusal = this.#refusal(batch, host, key);
    if (host === undefined || refusal !== undefined) {
      const { code, message, kind } = refusal ?? ShoalError.from('no host');
      const failure = { batchId: batch.batchId, error: { code, message }, retryable: kind.retryable };
      queueMicrotask(() => this.tell({ kind: 'failure', failure }));
      return;
    }
    const deviceKey = batch.device === '' ? '' : onDevice(key, batch.device);
    this.#count(key, deviceKey, 1);
    const cancel = host.submit(batch, (reply) => {
      this.#batches.delete(batch.batchId);
      this.#count(key, deviceKey, -1);
      this.tell(reply);
    });
    this.#batches.set(batch.batchId, cancel);
  }

  #count(key: string, deviceKey: string, change: number): void {
    for (const counted of deviceKey === '' ? [key] : [key, deviceKey]) {
      const count = (this.#counts.get(counted) ?? 0) + change;
      if (count === 0) this.#counts.delete(counted);
      else this.#counts.set(counted, count);
    }
  }

  #refusal(batch: Batch, host: VersionHost | undefined, key: string): ShoalError | undefined {
    if (this.#home.draining) return new ShoalError('DRAINING', 'The worker is draining and takes nothing new.');
    if (host === undefined) return new ShoalError('MODEL_NOT_READY', `The worker does not hold the version ${key}.`);
    const { device } = batch;
    const total = this.#counts.get(key) ?? 0;
    if (total >= host.batchLimit('')) return full(total, key);
    const here = device === '' ? 0 : (this.#counts.get(onDevice(key, device)) ?? 0);
    const limit = device === '' ? 0 : host.batchLimit(device);
    // A device without instances has no limit to be beyond: the version says that it is not there.
    if (limit > 0 && here >= limit) return full(here, onDevice(key, device));
    if (this.#batches.has(batch.batchId)) {
      return new ShoalError('INTERNAL', `The batch id ${batch.batchId} is already in use by this coordinator.`);
    }
    return undefined;
  }
}

const onDevice = (key: string, device: string): string => `${key} on ${device}`;

const full = (count: number, what: string): ShoalError =>
  new ShoalError(
    'QUEUE_FULL',
    `The worker already has ${count} batches of ${what} from this coordinator, which is its limit.`,
  );
