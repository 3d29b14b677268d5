import { ShoalError } from '../../core/errors.js';

/**
 * What each connection makes this process hold: requests under way, and answers its caller has not read yet. HTTP/2
 * lets a caller leave any number of answers unread, for ever; beyond the limit a connection gets no further one.
 */
export class HeldBytes {
  readonly #limitBytes: number;
  readonly #byConnection = new Map<string, number>();

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /**
   * Counts a request that has arrived. One by itself is never too many.
   * @throws QUEUE_FULL
   */
  admit(connection: string, bytes: number): void {
    const held = this.#byConnection.get(connection) ?? 0;
    if (held > 0 && held + bytes > this.#limitBytes) {
      throw new ShoalError(
        'QUEUE_FULL',
        `This connection has ${held} bytes of requests under way and answers it has not read; at most ${this.#limitBytes} may be.`,
        { retryAfterMs: 100 },
      );
    }
    this.#byConnection.set(connection, held + bytes);
  }

  /** Counts an answer that was handed to the transport. */
  add(connection: string, bytes: number): void {
    this.#byConnection.set(connection, (this.#byConnection.get(connection) ?? 0) + bytes);
  }

  /** The call is over: its answer was read, or its caller is gone. */
  release(connection: string, bytes: number): void {
    const left = (this.#byConnection.get(connection) ?? 0) - bytes;
    if (left > 0) this.#byConnection.set(connection, left);
    else this.#byConnection.delete(connection);
  }

  /** Connections that hold anything. */
  get connections(): number {
    return this.#byConnection.size;
  }
}
