import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../core/clock.js';
import {
  isGrpcType,
  parseTimeoutMs,
  percentDecoded,
  percentEncoded,
  timeoutText,
} from '../../../platform/http2/grpc-headers.js';
import { RateLimit } from '../../../platform/http2/limits.js';
import { MessageGatherer } from '../../../platform/http2/message-gatherer.js';

describe('grpc-timeout', () => {
  it.each([
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3000],
    ['250m', 250],
    ['1500u', 1.5],
    ['99999999n', 99.999999],
    ['0m', 0],
    ['00000001S', 1000],
  ])('%s', (text, ms) => {
    expect(parseTimeoutMs(text)).toBeCloseTo(ms, 9);
  });

  it.each(['', 'm', '1', '1s', '-1m', '1.5S', '123456789m', ' 1m', '1 m', '0x1m', '1mm'])('"%s" is none', (text) => {
    expect(parseTimeoutMs(text)).toBeNaN();
  });
});

describe('grpc-message', () => {
  it('stays as it is in plain English, and is percent-encoded UTF-8 otherwise', () => {
    const plain = 'Input "x" has shape [1, 2]; 3 < 4 & done.';
    expect(percentEncoded(plain)).toBe(plain);
    expect(percentEncoded('100 % für\nλ')).toBe('100 %25 f%C3%BCr%0A%CE%BB');
  });

  it('reads the same for everybody', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const encoded = percentEncoded(text);
        expect(encoded).toMatch(/^[ -~]*$/);
        expect(decodeURIComponent(encoded)).toBe(text);
      }),
    );
  });
});

it('content types of gRPC are told from others', () => {
  for (const type of ['application/grpc', 'application/grpc+proto', 'application/grpc;charset=utf-8']) {
    expect(isGrpcType(type)).toBe(true);
  }
  for (const type of ['', 'application/json', 'application/grpc-web', 'application/grpcx', 'text/application/grpc']) {
    expect(isGrpcType(type)).toBe(false);
  }
});

describe('a message that comes in parts', () => {
  const framed = (message: Buffer): Buffer => {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    return Buffer.concat([prefix, message]);
  };

  it('is whole at its last byte, however it was cut', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.array(fc.integer({ min: 0, max: 30 })), (content, cuts) => {
        const message = Buffer.from(content);
        const bytes = framed(message);
        const gatherer = new MessageGatherer(100);
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          const end = Math.min(bytes.length, at + cut);
          expect(gatherer.message === undefined).toBe(at < bytes.length);
          expect(gatherer.take(bytes, at, end)).toBeUndefined();
          at = end;
        }
        expect(gatherer.message).toEqual(message);
        expect(gatherer.take(Buffer.from([0]), 0, 1)).toMatchObject({ status: 12 });
      }),
    );
  });

  it('is given room as it comes, and its exact size in the end', () => {
    const message = Buffer.alloc(5_000_000, 7);
    const bytes = framed(message);
    const gatherer = new MessageGatherer(5_000_000);
    for (let at = 0; at < bytes.length; at += 65_536) {
      expect(gatherer.take(bytes, at, Math.min(bytes.length, at + 65_536))).toBeUndefined();
    }
    expect(gatherer.message?.equals(message)).toBe(true);
    expect(gatherer.message?.buffer.byteLength).toBe(5_000_000);
  });

  it('that announces too much is refused at its length', () => {
    const gatherer = new MessageGatherer(1000);
    const prefix = framed(Buffer.alloc(1001)).subarray(0, 5);
    expect(gatherer.take(prefix, 0, 4)).toBeUndefined();
    expect(gatherer.take(prefix, 4, 5)).toEqual({
      status: 8,
      message: 'The request message has 1001 bytes; at most 1000 are accepted.',
    });
    expect(gatherer.heldBytes).toBe(0);
  });
});

describe('a rate limit', () => {
  it('allows a flood for a second only, and a steady pace for ever', () => {
    const clock = new VirtualClock();
    const limit = new RateLimit(10, clock);
    for (let i = 0; i < 200; i++) {
      expect(limit.allows()).toBe(true);
      clock.advance(101);
    }
    const flood = new RateLimit(10, clock);
    const allowed = Array.from({ length: 100 }, () => flood.allows()).filter(Boolean).length;
    expect(allowed).toBeGreaterThanOrEqual(10);
    expect(allowed).toBeLessThanOrEqual(20);
    clock.advance(1000);
    expect(flood.allows()).toBe(true);
  });
});

it('any text survives grpc-message, and what is no UTF-8 does not throw', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      expect(percentDecoded(percentEncoded(text))).toBe(text);
    }),
    { seed: 5 },
  );
  expect(percentDecoded('100 % of %zz and %C3%A4')).toBe('100 % of %zz and ä');
  expect(percentDecoded('%FF')).toBe('\ufffd');
});

it('a timeout is never said shorter than it is, nor in more than eight digits', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e10, noNaN: true }), (ms) => {
      const text = timeoutText(ms);
      expect(text).toMatch(/^[1-9]\d{0,7}[umS]$/);
      const said = parseTimeoutMs(text);
      expect(said).toBeGreaterThanOrEqual(ms * (1 - 1e-12));
      expect(said).toBeLessThanOrEqual(ms + Math.max(0.0011, ms * 1e-4));
    }),
    { seed: 6 },
  );
});
