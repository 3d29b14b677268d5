import {
  ConnectionError,
  defaultMaxFrameBytes,
  ErrorCode,
  FrameFlag,
  FrameType,
  frameHeaderBytes,
} from './protocol.js';

/** Who is told what the reader finds. Ranges `[start, end)` are of a read's own bytes: nothing is copied. */
export interface FrameVisitor {
  /** Called at every frame's start, for rules about which frame may follow which. */
  frameBegins(type: number, flags: number, streamId: number, length: number): void;
  /** A whole frame of any type but DATA. */
  frame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void;
  /**
   * A part of a DATA frame, padding left out. `flowBytes` is what the part counts for flow control, `isFrameEnd`
   * says that the frame ends here, `isStreamEnd` that the stream does.
   */
  data(
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
    flowBytes: number,
    isFrameEnd: boolean,
    isStreamEnd: boolean,
  ): void;
}

/**
 * Cuts whatever the socket gives into frames (RFC 9113, section 4). DATA is handed on as it comes; other frames are
 * small and are gathered first where a read ends within one.
 */
export class FrameReader {
  readonly #visitor: FrameVisitor;
  readonly #maxFrameBytes: number;
  readonly #header = Buffer.allocUnsafeSlow(frameHeaderBytes);
  #headerFilled = 0;
  #isInFrame = false;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  /** Bytes of the frame that have not been read. */
  #left = 0;
  /** The same for its padding, once the pad length is known. */
  #paddingLeft = 0;
  #wantsPadLength = false;
  #gathered: Buffer | undefined;
  #gatheredFilled = 0;

  constructor(visitor: FrameVisitor, maxFrameBytes: number = defaultMaxFrameBytes) {
    this.#visitor = visitor;
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** @throws ConnectionError when the bytes break the framing, or what the visitor throws. */
  read(chunk: Buffer, from: number): void {
    const end = chunk.length;
    let at = from;
    while (at < end) {
      if (this.#isInFrame) {
        at = this.#type === FrameType.DATA ? this.#readData(chunk, at, end) : this.#gather(chunk, at, end);
      } else if (this.#headerFilled === 0 && end - at >= frameHeaderBytes) {
        at = this.#begin(chunk, at, at + frameHeaderBytes, end);
      } else {
        const take = Math.min(frameHeaderBytes - this.#headerFilled, end - at);
        chunk.copy(this.#header, this.#headerFilled, at, at + take);
        this.#headerFilled += take;
        at += take;
        if (this.#headerFilled < frameHeaderBytes) return;
        this.#headerFilled = 0;
        at = this.#begin(this.#header, 0, at, end, chunk);
      }
    }
  }

  /** Reads the frame header at `header[h]`; the payload begins at `chunk[at]`. Returns how far it got in `chunk`. */
  #begin(header: Buffer, h: number, at: number, end: number, chunk: Buffer = header): number {
    const length = ((header[h] ?? 0) << 16) | ((header[h + 1] ?? 0) << 8) | (header[h + 2] ?? 0);
    const type = header[h + 3] ?? 0;
    const flags = header[h + 4] ?? 0;
    const streamId =
      (((header[h + 5] ?? 0) & 0x7f) << 24) |
      ((header[h + 6] ?? 0) << 16) |
      ((header[h + 7] ?? 0) << 8) |
      (header[h + 8] ?? 0);
    if (length > this.#maxFrameBytes) {
      throw new ConnectionError(
        ErrorCode.FRAME_SIZE_ERROR,
        `A frame of ${length} bytes is larger than the ${this.#maxFrameBytes} allowed.`,
      );
    }
    this.#visitor.frameBegins(type, flags, streamId, length);
    if (type === FrameType.DATA) {
      this.#type = type;
      this.#flags = flags;
      this.#streamId = streamId;
      this.#left = length;
      this.#paddingLeft = 0;
      this.#wantsPadLength = (flags & FrameFlag.PADDED) !== 0;
      if (this.#wantsPadLength && length === 0) throw badPadding();
      this.#isInFrame = true;
      return length === 0 || at < end ? this.#readData(chunk, at, end) : at;
    }
    if (end - at >= length) {
      this.#visitor.frame(type, flags, streamId, chunk, at, at + length);
      return at + length;
    }
    this.#type = type;
    this.#flags = flags;
    this.#streamId = streamId;
    this.#left = length;
    this.#isInFrame = true;
    this.#gathered = Buffer.allocUnsafe(length);
    this.#gatheredFilled = 0;
    return this.#gather(chunk, at, end);
  }

  #readData(chunk: Buffer, from: number, end: number): number {
    let at = from;
    let flowBytes = 0;
    if (this.#wantsPadLength) {
      this.#paddingLeft = chunk[at++] ?? 0;
      this.#left--;
      flowBytes = 1;
      this.#wantsPadLength = false;
      if (this.#paddingLeft > this.#left) throw badPadding();
    }
    const take = Math.min(this.#left, end - at);
    const payload = Math.min(take, this.#left - this.#paddingLeft);
    this.#left -= take;
    const isFrameEnd = this.#left === 0;
    this.#isInFrame = !isFrameEnd;
    // Padding that comes in a later read than the payload counts as payload already gone.
    if (this.#paddingLeft > this.#left) this.#paddingLeft = this.#left;
    const isStreamEnd = isFrameEnd && (this.#flags & FrameFlag.END_STREAM) !== 0;
    this.#visitor.data(this.#streamId, chunk, at, at + payload, flowBytes + take, isFrameEnd, isStreamEnd);
    return at + take;
  }

  #gather(chunk: Buffer, at: number, end: number): number {
    const gathered = this.#gathered;
    if (gathered === undefined) return at;
    const take = Math.min(this.#left, end - at);
    chunk.copy(gathered, this.#gatheredFilled, at, at + take);
    this.#gatheredFilled += take;
    this.#left -= take;
    if (this.#left === 0) {
      this.#isInFrame = false;
      this.#gathered = undefined;
      this.#visitor.frame(this.#type, this.#flags, this.#streamId, gathered, 0, gathered.length);
    }
    return at + take;
  }
}

const badPadding = (): ConnectionError =>
  new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'A frame says that its padding is longer than itself.');
