import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader } from '../../../platform/http2/frame-reader.js';

interface Wire {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
  /** For DATA: padding bytes, with the flag set; -1: none. */
  readonly padding: number;
}

function wireBytes({ type, flags, streamId, payload, padding }: Wire): Buffer {
  const padded = padding < 0 ? payload : Buffer.concat([Buffer.from([padding]), payload, Buffer.alloc(padding)]);
  const header = Buffer.alloc(9);
  header.writeUIntBE(padded.length, 0, 3);
  header[3] = type;
  header[4] = flags | (padding < 0 ? 0 : 8);
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, padded]);
}

/** What a reader reports, with the parts of DATA put together. */
class Log {
  readonly seen: string[] = [];
  #data = '';
  #flow = 0;

  frameBegins(): void {
    // Seen by what follows.
  }

  frame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    this.seen.push(`${type} ${flags} ${streamId} ${bytes.toString('hex', start, end)}`);
  }

  data(
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
    flowBytes: number,
    isFrameEnd: boolean,
    isStreamEnd: boolean,
  ): void {
    this.#data += bytes.toString('hex', start, end);
    this.#flow += flowBytes;
    if (!isFrameEnd) {
      expect(isStreamEnd).toBe(false);
      return;
    }
    this.seen.push(`data ${streamId} ${this.#data} ${this.#flow} ${isStreamEnd}`);
    this.#data = '';
    this.#flow = 0;
  }
}

const wireOf = fc.record({
  type: fc.integer({ min: 0, max: 12 }),
  flags: fc.constantFrom(0, 1, 4, 5),
  streamId: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  payload: fc.uint8Array({ maxLength: 60 }),
  padding: fc.integer({ min: -1, max: 20 }),
});

describe('the frame reader', () => {
  it('finds the same frames however the bytes are cut into reads', () => {
    fc.assert(
      fc.property(fc.array(wireOf, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 40 })), (wires, cuts) => {
        const frames = wires.map((wire) => (wire.type === 0 ? wire : { ...wire, padding: -1 }));
        const bytes = Buffer.concat(frames.map(wireBytes));
        const log = new Log();
        const reader = new FrameReader(log);
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          reader.read(bytes.subarray(at, at + cut), 0);
          at += cut;
          if (at >= bytes.length) break;
        }
        expect(log.seen).toEqual(
          frames.map(({ type, flags, streamId, payload, padding }) =>
            type === 0
              ? `data ${streamId} ${Buffer.from(payload).toString('hex')} ${payload.length + padding + 1} ${(flags & 1) === 1}`
              : `${type} ${flags} ${streamId} ${Buffer.from(payload).toString('hex')}`,
          ),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('refuses a frame larger than allowed at its header', () => {
    const header = Buffer.from('004001000100000001', 'hex');
    expect(() => new FrameReader(new Log()).read(header, 0)).toThrow('16385 bytes is larger than the 16384 allowed');
  });

  it.each([
    ['longer than the frame', '000003000800000001 03 0000'],
    ['in a frame with no room for its length', '000000000800000001'],
  ])('refuses padding %s', (_what, hex) => {
    expect(() => new FrameReader(new Log()).read(Buffer.from(hex.replaceAll(' ', ''), 'hex'), 0)).toThrow('padding');
  });
});
