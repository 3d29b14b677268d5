import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Datatype, elementBytes } from '../../../core/datatype.js';
import { FrameSplitter, maxFrameBytes } from '../../../worker/executor/frames.js';
import {
  decodeFromExecutor,
  decodeToExecutor,
  encodeFromExecutor,
  encodeToExecutor,
  type FromExecutor,
  type ToExecutor,
} from '../../../worker/executor/protocol.js';

const placement = fc.record({
  index: fc.nat(1000),
  datatype: fc.constantFrom(...(Object.keys(elementBytes) as Datatype[])),
  shape: fc.array(fc.nat(2 ** 40), { maxLength: 8 }),
  offset: fc.nat(2 ** 31),
  byteLength: fc.nat(2 ** 31),
});
const sequence = fc.nat(2 ** 31);
const us = fc.double({ min: 0, noNaN: true });

const toExecutor: fc.Arbitrary<ToExecutor> = fc.oneof(
  fc.constant<ToExecutor>({ kind: 'close' }),
  fc.record({
    kind: fc.constant('execute' as const),
    execution: fc.record({
      sequence,
      slot: fc.nat(7),
      expiresAtUs: fc.oneof(us, fc.constant(Number.POSITIVE_INFINITY)),
      traceparent: fc.string({ unit: 'binary' }),
      inputBytes: fc.nat(2 ** 31),
      inputs: fc.array(placement),
      outputs: fc.array(fc.nat(1000)),
    }),
  }),
);
const fromExecutor: fc.Arbitrary<FromExecutor> = fc.oneof(
  fc.constant<FromExecutor>({ kind: 'checked' }),
  fc.record({
    kind: fc.constant('refused' as const),
    sequence,
    code: fc.constantFrom('EXECUTION_FAILED' as const, 'CANCELLED' as const),
    message: fc.string({ unit: 'binary' }),
  }),
  fc.record({
    kind: fc.constant('executed' as const),
    executed: fc.record({
      sequence,
      readUs: us,
      executeUs: us,
      writeUs: us,
      outputBytes: fc.nat(2 ** 31),
      outputs: fc.array(placement),
    }),
  }),
);

/** Cuts a stream anywhere and reads it as frames. */
function frames(stream: Buffer, cuts: readonly number[]): Buffer[] {
  const splitter = new FrameSplitter();
  const bodies: Buffer[] = [];
  const ends = [...cuts.map((cut) => cut % (stream.length + 1)), stream.length].sort((a, b) => a - b);
  let at = 0;
  for (const end of ends) {
    splitter.push(Buffer.from(stream.subarray(at, end)), (body) => bodies.push(Buffer.from(body)));
    at = end;
  }
  return bodies;
}

it('messages to an executor arrive as they were sent, however the pipe cuts them', () => {
  fc.assert(
    fc.property(fc.array(toExecutor), fc.array(fc.nat()), (messages, cuts) => {
      const stream = Buffer.concat(messages.map(encodeToExecutor));
      expect(frames(stream, cuts).map(decodeToExecutor)).toEqual(messages);
    }),
  );
});

it('messages from an executor arrive as they were sent, however the pipe cuts them', () => {
  fc.assert(
    fc.property(fc.array(fromExecutor), fc.array(fc.nat()), (messages, cuts) => {
      const stream = Buffer.concat(messages.map(encodeFromExecutor));
      expect(frames(stream, cuts).map(decodeFromExecutor)).toEqual(messages);
    }),
  );
});

it('a frame longer than there can be is refused', () => {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(maxFrameBytes + 1);
  expect(() => new FrameSplitter().push(head, () => undefined)).toThrow(/control frame of \d+ bytes/);
});
