import type { Clock, Timers } from '../../core/clock.js';
import type { LinkEvents, LinkSession, ToCoordinator, ToWorker } from '../../core/link.js';
import type { Random } from '../../core/random.js';

/** How long a message is on its way: always `baseMs`, and exponentially distributed `jitterMs` on the average besides. */
export interface LinkLatency {
  readonly baseMs: number;
  readonly jitterMs: number;
}

/** Sees every message at the coordinator's end of every link. */
export interface LinkProbe {
  /** The coordinator hands a message over. */
  sent(session: SimSession, message: ToWorker): void;
  /** A message is about to reach the coordinator. */
  told(session: SimSession, message: ToCoordinator): void;
  /** The coordinator is about to hear that the session is over. */
  ended(session: SimSession, reason: string): void;
}

/** The worker's end. */
export interface SessionOwner {
  readonly workerId: string;
  received(session: SimSession, message: ToWorker): void;
  /** The coordinator closed it. */
  closedByCoordinator(session: SimSession): void;
}

/** One conversation. Messages of one direction arrive in the order in which they were sent. */
export class SimSession implements LinkSession {
  readonly id: number;
  readonly workerId: string;
  readonly #owner: SessionOwner;
  readonly #events: LinkEvents;
  readonly #probe: LinkProbe;
  readonly #clock: Clock & Timers;
  readonly #random: Random;
  readonly #latency: LinkLatency;
  #state: 'open' | 'ending' | 'over' = 'open';
  #lastThereMs = 0;
  #lastBackMs = 0;

  constructor(options: {
    id: number;
    owner: SessionOwner;
    events: LinkEvents;
    probe: LinkProbe;
    clock: Clock & Timers;
    random: Random;
    latency: LinkLatency;
  }) {
    this.id = options.id;
    this.workerId = options.owner.workerId;
    this.#owner = options.owner;
    this.#events = options.events;
    this.#probe = options.probe;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#latency = options.latency;
  }

  /** Coordinator → worker. */
  send(message: ToWorker): void {
    this.#probe.sent(this, message);
    if (this.#state !== 'open') return;
    this.#lastThereMs = this.#arrivalMs(this.#lastThereMs);
    this.#clock.after(this.#lastThereMs - this.#clock.nowMs(), () => {
      if (this.#state === 'open') this.#owner.received(this, message);
    });
  }

  /** Worker → coordinator. */
  tell(message: ToCoordinator): void {
    if (this.#state !== 'open') return;
    this.#back(() => {
      this.#probe.told(this, message);
      this.#events.message(message);
    });
  }

  /** The worker's end is gone. What it had sent before still arrives; nothing reaches it any more. */
  end(reason: string): void {
    if (this.#state !== 'open') return;
    this.#state = 'ending';
    this.#back(() => this.#over(reason));
  }

  /** The link itself broke: what was on its way is lost in both directions. */
  cut(reason: string): void {
    if (this.#state !== 'over') this.#over(reason);
  }

  /** The coordinator wants no more of it. */
  close(): void {
    if (this.#state === 'over') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'over';
    if (wasOpen) this.#owner.closedByCoordinator(this);
  }

  #over(reason: string): void {
    this.#state = 'over';
    this.#probe.ended(this, reason);
    this.#events.closed(reason);
  }

  #back(arrive: () => void): void {
    this.#lastBackMs = this.#arrivalMs(this.#lastBackMs);
    this.#clock.after(this.#lastBackMs - this.#clock.nowMs(), () => {
      if (this.#state !== 'over') arrive();
    });
  }

  #arrivalMs(lastMs: number): number {
    const { baseMs, jitterMs } = this.#latency;
    const jitter = jitterMs === 0 ? 0 : this.#random.exponential(jitterMs);
    return Math.max(lastMs, this.#clock.nowMs() + baseMs + jitter);
  }
}
