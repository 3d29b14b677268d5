import type { CancelTimer, Timers } from '../../core/clock.js';
import type { LinkSession, ToCoordinator, ToWorker, WorkerEndpoint } from '../../core/link.js';
import type { VersionStatus, WorkerInfo } from '../../core/model.js';
import { versionKey } from '../../core/model.js';
import type { Random } from '../../core/random.js';

/** A tagged union with one place that changes it: a link is in exactly one of these. */
type LinkState =
  | { readonly kind: 'connecting'; readonly session: LinkSession; readonly reason: string }
  | { readonly kind: 'connected'; readonly session: LinkSession; readonly info: WorkerInfo }
  | { readonly kind: 'draining'; readonly session: LinkSession; readonly info: WorkerInfo }
  | { readonly kind: 'waiting'; readonly cancel: CancelTimer; readonly reason: string }
  | { readonly kind: 'closed' };

export interface WorkerLinkEvents {
  /** A first word after (re)connecting: a whole snapshot. */
  hello(workerId: string, info: WorkerInfo, versions: readonly VersionStatus[]): void;
  message(workerId: string, message: Exclude<ToCoordinator, { kind: 'hello' }>): void;
  /** The session broke; what was in flight will not be answered. */
  lost(workerId: string, reason: string): void;
}

/** Back-off between tries to connect: full jitter over an exponentially growing window (AWS builders' library). */
const firstDelayMs = 50;
const maxDelayMs = 5000;

/** Keeps one worker connected for as long as it is wanted, and remembers what the worker said last. */
export class WorkerLink {
  readonly workerId: string;
  readonly address: string;
  readonly versions = new Map<string, VersionStatus>();
  readonly #endpoint: WorkerEndpoint;
  readonly #events: WorkerLinkEvents;
  readonly #timers: Timers;
  readonly #random: Random;
  #failures = 0;
  #state: LinkState;

  constructor(options: {
    workerId: string;
    address: string;
    endpoint: WorkerEndpoint;
    events: WorkerLinkEvents;
    timers: Timers;
    random: Random;
  }) {
    this.workerId = options.workerId;
    this.address = options.address;
    this.#endpoint = options.endpoint;
    this.#events = options.events;
    this.#timers = options.timers;
    this.#random = options.random;
    this.#state = this.#connect('');
  }

  get state(): 'connecting' | 'connected' | 'draining' | 'lost' {
    const { kind } = this.#state;
    return kind === 'waiting' || kind === 'closed' ? 'lost' : kind;
  }

  get reason(): string {
    return 'reason' in this.#state ? this.#state.reason : '';
  }

  get info(): WorkerInfo | undefined {
    return 'info' in this.#state ? this.#state.info : undefined;
  }

  /** False when there is no session to send on. */
  send(message: ToWorker): boolean {
    if (this.#state.kind !== 'connected' && this.#state.kind !== 'draining') return false;
    this.#state.session.send(message);
    return true;
  }

  /** Tries at once instead of when the back-off ends: the worker has just announced itself. */
  nudge(): void {
    if (this.#state.kind !== 'waiting') return;
    this.#state.cancel();
    this.#state = this.#connect(this.#state.reason);
  }

  close(): void {
    const state = this.#state;
    this.#state = { kind: 'closed' };
    if (state.kind === 'waiting') state.cancel();
    else if ('session' in state) state.session.close();
  }

  #connect(reason: string): LinkState {
    let session: LinkSession | undefined;
    const current = (): boolean => session !== undefined && 'session' in this.#state && this.#state.session === session;
    session = this.#endpoint.open({
      message: (message) => {
        if (current()) this.#receive(message);
      },
      closed: (why) => {
        if (current()) this.#broken(why);
      },
    });
    return { kind: 'connecting', session, reason };
  }

  #receive(message: ToCoordinator): void {
    if (message.kind === 'hello') {
      if (!('session' in this.#state)) return;
      this.#failures = 0;
      this.#state = { kind: 'connected', session: this.#state.session, info: message.worker };
      this.versions.clear();
      for (const status of message.versions) this.versions.set(versionKey(status.model, status.version), status);
      this.#events.hello(this.workerId, message.worker, message.versions);
      return;
    }
    if (message.kind === 'version') {
      this.versions.set(versionKey(message.status.model, message.status.version), message.status);
    } else if (message.kind === 'gone') {
      this.versions.delete(versionKey(message.model, message.version));
    } else if (message.kind === 'draining' && this.#state.kind === 'connected') {
      this.#state = { kind: 'draining', session: this.#state.session, info: this.#state.info };
    }
    this.#events.message(this.workerId, message);
  }

  #broken(why: string): void {
    const wasConnected = this.#state.kind === 'connected' || this.#state.kind === 'draining';
    const windowMs = Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(this.#failures++, 20));
    const cancel = this.#timers.after(this.#random.next() * windowMs, () => {
      this.#state = this.#connect(why);
    });
    this.#state = { kind: 'waiting', cancel, reason: why };
    this.versions.clear();
    if (wasConnected) this.#events.lost(this.workerId, why);
  }
}
