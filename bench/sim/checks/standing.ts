import type { ToCoordinator, ToWorker } from '../../../core/link.js';
import { versionKey } from '../../../core/model.js';
import type { Blame } from '../referee.js';
import type { Linked } from './dispatched-rows.js';

const rule = 'gone-workers';

interface Standing {
  state: 'unknown' | 'serving' | 'draining' | 'over';
  /** Slots of the versions that it said are ready. */
  readonly slots: Map<string, number>;
}

/**
 * Nothing is sent to a worker that has said that it drains, before it has said hello, or after its session is over;
 * nor of a version that it said is gone, not ready or without an instance. What counts is what the coordinator has
 * been told: messages that crossed its word on their way are nobody's fault.
 */
export class StandingCheck {
  readonly #blame: Blame;
  readonly #standings = new WeakMap<Linked, Standing>();

  constructor(blame: Blame) {
    this.#blame = blame;
  }

  told(session: Linked, message: ToCoordinator): void {
    if (message.kind === 'result' || message.kind === 'failure') return;
    const standing = this.#of(session);
    if (message.kind === 'draining') standing.state = 'draining';
    else if (message.kind === 'gone') standing.slots.delete(versionKey(message.model, message.version));
    else {
      if (message.kind === 'hello') standing.state = 'serving';
      for (const status of message.kind === 'hello' ? message.versions : [message.status])
        standing.slots.set(versionKey(status.model, status.version), status.state === 'ready' ? status.slots : 0);
    }
  }

  ended(session: Linked): void {
    this.#of(session).state = 'over';
  }

  sent(session: Linked, message: ToWorker): void {
    if (message.kind !== 'execute') return;
    const { state, slots } = this.#of(session);
    const { batchId, model, version } = message.batch;
    const what = `Batch ${batchId} of ${model} was sent to ${session.workerId}`;
    if (state === 'unknown') this.#blame(rule, `${what}, which had not said hello.`);
    else if (state === 'draining') this.#blame(rule, `${what}, which had said that it drains.`);
    else if (state === 'over') this.#blame(rule, `${what}, whose session was over.`);
    else if ((slots.get(versionKey(model, version)) ?? 0) === 0)
      this.#blame(rule, `${what}, which has no instance of version ${version} ready.`);
  }

  #of(session: Linked): Standing {
    let standing = this.#standings.get(session);
    if (standing === undefined) {
      standing = { state: 'unknown', slots: new Map() };
      this.#standings.set(session, standing);
    }
    return standing;
  }
}
