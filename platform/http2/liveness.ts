import type { ConnectionLimits } from './limits.js';

/** Says when to ask whether a silent caller is still there, and when it is not (`keepaliveMs` and the limit after it). */
export class Liveness {
  readonly #limits: Pick<ConnectionLimits, 'keepaliveMs' | 'keepaliveTimeoutMs'>;
  #askedMs = Number.NaN;

  constructor(limits: Pick<ConnectionLimits, 'keepaliveMs' | 'keepaliveTimeoutMs'>) {
    this.#limits = limits;
  }

  /** `heardMs` is when anything last came. Connections without calls are left in peace. */
  check(nowMs: number, heardMs: number, hasCalls: boolean): 'fine' | 'ask' | 'gone' {
    if (this.#askedMs <= heardMs) this.#askedMs = Number.NaN;
    if (!Number.isNaN(this.#askedMs)) return nowMs - this.#askedMs > this.#limits.keepaliveTimeoutMs ? 'gone' : 'fine';
    if (!hasCalls || nowMs - heardMs <= this.#limits.keepaliveMs) return 'fine';
    this.#askedMs = nowMs;
    return 'ask';
  }
}
