import fs from 'node:fs';
import { FrameSplitter } from './frames.js';
import { decodeToExecutor, encodeFromExecutor, type FromExecutor, type ToExecutor } from './protocol.js';

/**
 * The executor's end of the control pipe. Reads block: the process has nothing else to do, and a blocked read
 * wakes sooner and costs less than a socket on the event loop.
 */
export class ControlPipe {
  readonly #fd: number;
  readonly #splitter = new FrameSplitter();
  readonly #chunk = Buffer.allocUnsafeSlow(64 * 1024);
  readonly #arrived: ToExecutor[] = [];

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The next message; undefined when the worker is gone. */
  next(): ToExecutor | undefined {
    for (;;) {
      const message = this.#arrived.shift();
      if (message !== undefined) return message;
      let got: number;
      try {
        got = fs.readSync(this.#fd, this.#chunk);
      } catch (thrown) {
        // The worker died with answers of ours unread: the pipe says "reset" instead of "end".
        if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ECONNRESET') return undefined;
        throw thrown;
      }
      if (got === 0) return undefined;
      this.#splitter.push(this.#chunk.subarray(0, got), (body) => this.#arrived.push(decodeToExecutor(body)));
    }
  }

  send(message: FromExecutor): void {
    const frame = encodeFromExecutor(message);
    for (let sent = 0; sent < frame.length; ) sent += fs.writeSync(this.#fd, frame, sent);
  }
}
