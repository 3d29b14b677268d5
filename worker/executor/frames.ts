/**
 * Messages on the control pipe: a little-endian uint32 length, then that many bytes (kind byte included).
 * A frame is small: tensors travel in slabs. The limit only catches a pipe that has gone mad.
 */
export const maxFrameBytes = 16 * 1024 * 1024;

const headerBytes = 4;

/** Cuts a stream of chunks into frames. Frames may be slices of what was pushed; they are valid until the next push. */
export class FrameSplitter {
  #held: Buffer = Buffer.alloc(0);

  /** Calls `frame` for each complete frame. @throws Error on a length that cannot be. */
  push(chunk: Buffer, frame: (body: Buffer) => void): void {
    let data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    while (data.length >= headerBytes) {
      const length = data.readUInt32LE(0);
      if (length > maxFrameBytes) throw new Error(`a control frame of ${length} bytes`);
      if (data.length < headerBytes + length) break;
      frame(data.subarray(headerBytes, headerBytes + length));
      data = data.subarray(headerBytes + length);
    }
    // What is left of a chunk is a few bytes; a copy keeps the chunk's memory from being held.
    this.#held = data.length === 0 ? data : Buffer.from(data);
  }
}

/** Builds one frame at a time in a kept buffer; `finish` returns a copy, because a socket may keep what it is given. */
export class FrameWriter {
  #buffer = Buffer.allocUnsafeSlow(4096);
  #at = headerBytes;

  begin(kind: number): this {
    this.#at = headerBytes;
    return this.u8(kind);
  }

  u8(value: number): this {
    this.#reserve(1);
    this.#buffer[this.#at++] = value;
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#at = this.#buffer.writeUInt32LE(value, this.#at);
    return this;
  }

  f64(value: number): this {
    this.#reserve(8);
    this.#at = this.#buffer.writeDoubleLE(value, this.#at);
    return this;
  }

  text(value: string): this {
    const length = Buffer.byteLength(value);
    this.u32(length);
    this.#reserve(length);
    this.#at += this.#buffer.write(value, this.#at);
    return this;
  }

  finish(): Buffer {
    this.#buffer.writeUInt32LE(this.#at - headerBytes, 0);
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(this.#at + bytes)));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

/** Reads the fields of one frame in the order they were written. */
export class FrameReader {
  readonly #body: Buffer;
  #at = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  u8(): number {
    return this.#body.readUInt8(this.#at++);
  }

  u32(): number {
    const value = this.#body.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  f64(): number {
    const value = this.#body.readDoubleLE(this.#at);
    this.#at += 8;
    return value;
  }

  text(): string {
    const length = this.u32();
    const value = this.#body.toString('utf8', this.#at, this.#at + length);
    this.#at += length;
    return value;
  }
}
