import { HeadReader, type MakeHead } from './head-reader.js';
import { HpackDecoder } from './hpack-decoder.js';
import type { ConnectionLimits } from './limits.js';
import { broken, ConnectionError, ErrorCode, FrameFlag, FrameType } from './protocol.js';

/** Told of every header block: a request's or an answer's, or its trailers'. */
export type HeadVisitor<Head> = (streamId: number, isStreamEnd: boolean, head: Head) => void;

type BlockLimits = Pick<ConnectionLimits, 'maxHeaderListBytes' | 'maxHeaderBlockBytes' | 'maxContinuations'>;

/** Puts HEADERS and CONTINUATION frames together (RFC 9113, sections 4.3, 6.2 and 6.10), within limits. */
export class HeaderBlocks<Head> {
  readonly #limits: BlockLimits;
  readonly #visit: HeadVisitor<Head>;
  readonly #heads: HeadReader<Head>;
  /** The stream whose block has begun and not ended; 0: none. */
  #streamId = 0;
  #isStreamEnd = false;
  #parts: Buffer[] = [];
  #bytes = 0;
  #sinceMs = Number.NaN;

  constructor(
    limits: BlockLimits,
    make: MakeHead<Head>,
    visit: HeadVisitor<Head>,
    mayRepeat?: (head: Head) => boolean,
  ) {
    this.#limits = limits;
    this.#visit = visit;
    this.#heads = new HeadReader(new HpackDecoder(), limits.maxHeaderListBytes, make, mayRepeat);
  }

  /** How long the present block has been coming, ms; NaN: there is none. */
  ageMs(nowMs: number): number {
    return nowMs - this.#sinceMs;
  }

  /** Nothing may come between the frames of a block; a block that will be too large ends at its frame's header. */
  frameBegins(type: number, streamId: number, length: number): void {
    const isContinued = this.#streamId !== 0;
    if (isContinued && (type !== FrameType.CONTINUATION || streamId !== this.#streamId)) {
      throw broken('A header block was interrupted by another frame.');
    }
    if (!isContinued && type !== FrameType.HEADERS) return;
    this.#bytes = isContinued ? this.#bytes + length : length;
    if (this.#bytes > this.#limits.maxHeaderBlockBytes) {
      throw new ConnectionError(
        ErrorCode.ENHANCE_YOUR_CALM,
        `A header block is larger than the ${this.#limits.maxHeaderBlockBytes} bytes allowed.`,
      );
    }
  }

  headers(flags: number, streamId: number, bytes: Buffer, from: number, to: number, nowMs: number): void {
    if (streamId === 0) throw broken('HEADERS names no stream.');
    let start = from;
    let end = to;
    if ((flags & FrameFlag.PADDED) !== 0) end -= start < end ? (bytes[start++] ?? 0) : 1;
    if ((flags & FrameFlag.PRIORITY) !== 0) start += 5;
    if (start > end) throw broken('A HEADERS frame is shorter than its padding and priority.');
    const isStreamEnd = (flags & FrameFlag.END_STREAM) !== 0;
    if ((flags & FrameFlag.END_HEADERS) !== 0) {
      this.#visit(streamId, isStreamEnd, this.#heads.read(bytes, start, end));
      return;
    }
    this.#streamId = streamId;
    this.#isStreamEnd = isStreamEnd;
    this.#sinceMs = nowMs;
    // Copied: the read it stands in must not be held for a block that may be long in coming.
    this.#parts = [Buffer.from(bytes.subarray(start, end))];
  }

  continuation(flags: number, bytes: Buffer, start: number, end: number): void {
    if (this.#streamId === 0) throw broken('CONTINUATION where no header block is open.');
    this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    if (this.#parts.length > this.#limits.maxContinuations + 1) {
      throw new ConnectionError(
        ErrorCode.ENHANCE_YOUR_CALM,
        `A header block has more than the ${this.#limits.maxContinuations} CONTINUATION frames allowed.`,
      );
    }
    if ((flags & FrameFlag.END_HEADERS) === 0) return;
    const streamId = this.#streamId;
    const block = Buffer.concat(this.#parts);
    this.#streamId = 0;
    this.#sinceMs = Number.NaN;
    this.#parts = [];
    this.#visit(streamId, this.#isStreamEnd, this.#heads.read(block, 0, block.length));
  }
}
