import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import { decodeStatusDetails, encodeStatusDetails } from '../../../platform/oip/error-details.js';
import { WireReader } from '../../../platform/oip/wire.js';
import { int64Bytes, varintBytes, WireWriter } from '../../../platform/oip/wire-writer.js';

/** A number where it is exact, as the codec gives it. */
const simplest = (value: bigint): number | bigint =>
  Number.isSafeInteger(Number(value)) && BigInt(Number(value)) === value ? Number(value) : value;

const edges = [0n, 1n, 127n, 128n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n].flatMap(
  (n) => [n, -n],
);

describe('varints', () => {
  it('hold every signed 64-bit integer, in the size foretold, as protobufjs writes it', () => {
    const any = fc.oneof(
      fc.constantFrom(...edges, -(2n ** 63n)),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    );
    fc.assert(
      fc.property(any, (value) => {
        const number = simplest(value);
        const writer = new WireWriter(int64Bytes(number));
        writer.int64(number);
        const bytes = writer.finish();
        expect(bytes.toString('hex')).toBe(
          Buffer.from(protobuf.Writer.create().int64(`${value}`).finish()).toString('hex'),
        );
        expect(new WireReader(bytes, 'request').int64()).toBe(number);
        expect(new WireReader(bytes, 'request').uint64()).toBe(simplest(BigInt.asUintN(64, value)));
      }),
    );
  });

  it('hold lengths up to 2^53', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const writer = new WireWriter(varintBytes(value));
        writer.varint(value);
        expect(new WireReader(writer.finish(), 'request').uint64()).toBe(value);
      }),
    );
  });

  it('may be longer than they need, and drop what is beyond 64 bits', () => {
    expect(new WireReader(Buffer.from('81808080808080808000', 'hex'), 'request').uint64()).toBe(1);
    expect(new WireReader(Buffer.from('8080808080808080807e', 'hex'), 'request').uint64()).toBe(0);
    expect(new WireReader(Buffer.from('ffffffffffffffffff7f', 'hex'), 'request').int64()).toBe(-1);
  });
});

describe('names', () => {
  it('come back as they are, whatever was read before', () => {
    const name = fc.oneof(fc.string({ maxLength: 70 }), fc.string({ unit: 'grapheme', maxLength: 30 }));
    fc.assert(
      fc.property(fc.array(name, { maxLength: 50 }), (names) => {
        for (const text of [...names, ...names]) {
          const writer = protobuf.Writer.create().string(text);
          expect(new WireReader(Buffer.from(writer.finish()), 'request').name()).toBe(text);
        }
      }),
    );
  });

  it('that share a slot of the table do not get mixed up', () => {
    for (let i = 0; i < 20_000; i++) {
      const text = `input_${i % 5000}`;
      expect(new WireReader(Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]), 'request').name()).toBe(
        text,
      );
    }
  });
});

describe('status details', () => {
  it('carry code and pause', () => {
    const error = new ShoalError('QUEUE_FULL', 'The queue of ünïcode/1 is full.', { retryAfterMs: 1250.5 });
    expect(decodeStatusDetails(encodeStatusDetails(error))).toEqual({ code: 'QUEUE_FULL', retryAfterMs: 1250.5 });
    const plain = new ShoalError('MODEL_NOT_FOUND', 'No.');
    expect(decodeStatusDetails(encodeStatusDetails(plain))).toEqual({
      code: 'MODEL_NOT_FOUND',
      retryAfterMs: undefined,
    });
  });

  it('are what google.rpc says they are', () => {
    const { root } = protobuf.parse(`
      syntax = "proto3";
      message Any { string type_url = 1; bytes value = 2; }
      message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
      message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }`);
    root.resolveAll();
    const error = new ShoalError('DEADLINE_EXPIRED', 'Too late.');
    const status = root.lookupType('Status').decode(encodeStatusDetails(error)).toJSON();
    expect(status).toMatchObject({ code: 4, message: 'Too late.' });
    const [detail] = status.details as { typeUrl: string; value: string }[];
    expect(detail?.typeUrl).toBe('type.googleapis.com/google.rpc.ErrorInfo');
    expect(
      root
        .lookupType('ErrorInfo')
        .decode(Buffer.from(detail?.value ?? '', 'base64'))
        .toJSON(),
    ).toEqual({
      reason: 'DEADLINE_EXPIRED',
      domain: 'shoal',
    });
  });

  it('that are broken or of somebody else are passed over', () => {
    const nothing = { code: undefined, retryAfterMs: undefined };
    expect(decodeStatusDetails(Buffer.from('garbage'))).toEqual(nothing);
    expect(decodeStatusDetails(Buffer.alloc(0))).toEqual(nothing);
  });
});
