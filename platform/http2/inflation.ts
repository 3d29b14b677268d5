import { gunzip, inflate } from 'node:zlib';
import { GrpcStatus } from '../../core/errors.js';
import type { UnaryFailure } from './unary-method.js';

export type Inflated = (message: Buffer | undefined, failure: UnaryFailure | undefined) => void;

/** A small message may become the largest allowed, so only so many grow at a time. */
const maxAtOnce = 8;

/** Decompresses request messages, in order of their coming. */
export class Inflation {
  readonly #maxBytes: number;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** `isWanted` is asked when its turn has come: a caller may be gone by then. */
  inflate(encoding: 'gzip' | 'deflate', message: Buffer, isWanted: () => boolean, done: Inflated): void {
    const start = (): void => {
      if (!isWanted()) {
        this.#next();
        return;
      }
      this.#underWay++;
      const decompress = encoding === 'gzip' ? gunzip : inflate;
      decompress(message, { maxOutputLength: Math.max(1, this.#maxBytes) }, (error, inflated) => {
        this.#underWay--;
        if (error === null) done(inflated, undefined);
        else done(undefined, this.#failure(error, encoding));
        this.#next();
      });
    };
    if (this.#underWay < maxAtOnce) start();
    else this.#waiting.push(start);
  }

  #next(): void {
    if (this.#underWay < maxAtOnce) this.#waiting.shift()?.();
  }

  #failure(error: NodeJS.ErrnoException, encoding: string): UnaryFailure {
    if (error.code === 'ERR_BUFFER_TOO_LARGE') {
      return {
        status: GrpcStatus.RESOURCE_EXHAUSTED,
        message: `The request message decompresses to more than the ${this.#maxBytes} bytes allowed.`,
      };
    }
    return {
      status: GrpcStatus.INTERNAL,
      message: `The request message cannot be decompressed as ${encoding}: ${error.message}.`,
    };
  }
}
