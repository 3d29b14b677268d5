import type { Outbox } from './outbox.js';
import { FrameType } from './protocol.js';

const textBytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** The frames that carry no part of an answer. */
export class FrameWriter {
  readonly #outbox: Outbox;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  rstStream(streamId: number, code: number): void {
    this.#outbox.frameHeader(4, FrameType.RST_STREAM, 0, streamId);
    this.#outbox.uint32(code);
  }

  windowUpdate(streamId: number, bytes: number): void {
    this.#outbox.frameHeader(4, FrameType.WINDOW_UPDATE, 0, streamId);
    this.#outbox.uint32(bytes);
  }

  /** `payload` has eight bytes. */
  ping(payload: Uint8Array, flags: number): void {
    this.#outbox.frameHeader(8, FrameType.PING, flags, 0);
    this.#outbox.copy(payload);
  }

  goaway(lastStreamId: number, code: number, reason: string): void {
    const debug = textBytes(reason);
    this.#outbox.frameHeader(8 + debug.length, FrameType.GOAWAY, 0, 0);
    this.#outbox.uint32(lastStreamId);
    this.#outbox.uint32(code);
    this.#outbox.copy(debug);
  }

  settings(settings: readonly (readonly [id: number, value: number])[]): void {
    this.#outbox.frameHeader(settings.length * 6, FrameType.SETTINGS, 0, 0);
    for (const [id, value] of settings) {
      this.#outbox.copy(Uint8Array.of(id >>> 8, id));
      this.#outbox.uint32(value);
    }
  }

  acknowledgeSettings(): void {
    this.#outbox.frameHeader(0, FrameType.SETTINGS, 1, 0);
  }
}
