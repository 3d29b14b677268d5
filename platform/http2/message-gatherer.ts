import { GrpcStatus } from '../../core/errors.js';
import type { UnaryFailure } from './unary-method.js';

/** Compressed flag and length in front of every message. */
export const prefixBytes = 5;

/** A message up to this size gets its whole buffer at once. */
const trustedBytes = 1024 * 1024;
/** A larger one gets at most this many times what has come of it: a length is easily said. */
const trustFactor = 8;

/** What is said of a message that cannot be taken. */
export interface GathererWords {
  readonly tooLarge: (bytes: number, maxBytes: number) => UnaryFailure;
  readonly secondMessage: UnaryFailure;
}

/**
 * Gathers the one message of a unary request or answer that did not come in one piece, into one buffer of its exact size once
 * its length is known.
 */
export class MessageGatherer {
  readonly #maxBytes: number;
  readonly #words: GathererWords;
  readonly #prefix = Buffer.allocUnsafe(prefixBytes);
  #prefixFilled = 0;
  #length = 0;
  #message: Buffer = noBytes;
  #filled = 0;

  constructor(maxBytes: number, words: GathererWords = requestWords) {
    this.#maxBytes = maxBytes;
    this.#words = words;
  }

  /** Takes bytes `[start, end)`; returns why the call fails, if it does. */
  take(bytes: Buffer, start: number, end: number): UnaryFailure | undefined {
    let at = start;
    if (this.#prefixFilled < prefixBytes) {
      const take = Math.min(prefixBytes - this.#prefixFilled, end - at);
      bytes.copy(this.#prefix, this.#prefixFilled, at, at + take);
      this.#prefixFilled += take;
      at += take;
      if (this.#prefixFilled < prefixBytes) return undefined;
      this.#length = this.#prefix.readUInt32BE(1);
      if (this.#length > this.#maxBytes) return this.#words.tooLarge(this.#length, this.#maxBytes);
    }
    if (end - at > this.#length - this.#filled) return this.#words.secondMessage;
    if (end > at) {
      this.#grow(this.#filled + end - at);
      bytes.copy(this.#message, this.#filled, at, end);
      this.#filled += end - at;
    }
    return undefined;
  }

  /** Bytes held. */
  get heldBytes(): number {
    return this.#filled;
  }

  get isEmpty(): boolean {
    return this.#prefixFilled === 0;
  }

  get isCompressed(): boolean {
    return this.#prefix[0] !== 0;
  }

  /** The message when it is whole. */
  get message(): Buffer | undefined {
    return this.#prefixFilled === prefixBytes && this.#filled === this.#length ? this.#message : undefined;
  }

  #grow(wanted: number): void {
    if (wanted <= this.#message.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.min(this.#length, Math.max(trustedBytes, wanted * trustFactor)));
    this.#message.copy(larger, 0, 0, this.#filled);
    this.#message = larger;
  }
}

const noBytes = Buffer.alloc(0);

export const tooLarge = (bytes: number, maxBytes: number): UnaryFailure => ({
  status: GrpcStatus.RESOURCE_EXHAUSTED,
  message: `The request message has ${bytes} bytes; at most ${maxBytes} are accepted.`,
});

export const secondMessage: UnaryFailure = {
  status: GrpcStatus.UNIMPLEMENTED,
  message: 'The call is unary and takes one request message, and a second one came.',
};

const requestWords: GathererWords = { tooLarge, secondMessage };
