import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { HeaderField } from '../../../platform/http2/header-field.js';
import { HpackDecoder } from '../../../platform/http2/hpack-decoder.js';
import { CallHead, RequestBlocks } from '../../../platform/http2/request-blocks.js';

const field = fc.tuple(
  fc.constantFrom(':method', ':path', 'te', 'x-shoal-caller', 'traceparent', 'a'),
  fc.oneof(fc.constantFrom('POST', '/', 'x'), fc.stringMatching(/^[ -~]{0,600}$/)),
);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ head: fc.nat(4), timeoutMs: fc.constantFrom(Number.POSITIVE_INFINITY, 5, 70) }) },
  { weight: 1, arbitrary: fc.record({ tableBytes: fc.nat(5000) }) },
);

function decoded(decoder: HpackDecoder, block: Buffer): string[] {
  const fields: HeaderField[] = [];
  decoder.decode(block, 0, block.length, fields, 1e9);
  return fields.map(({ name, value }) => `${name}: ${value}`);
}

test('whatever heads are sent in whatever order, and whatever table the peer allows, it reads the same fields', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(field, { maxLength: 12 }), { minLength: 5, maxLength: 5 }),
      fc.array(step, { maxLength: 60 }),
      (lists, steps) => {
        const heads = lists.map((fields) => new CallHead(fields));
        const blocks = new RequestBlocks();
        const decoder = new HpackDecoder();
        for (const now of steps) {
          if ('tableBytes' in now) {
            blocks.peerAllows(now.tableBytes);
            continue;
          }
          const head = heads[now.head];
          if (head === undefined) throw new Error('there are five heads');
          const timeout = now.timeoutMs === Number.POSITIVE_INFINITY ? [] : [`grpc-timeout: ${now.timeoutMs * 1000}u`];
          const expected = [...head.fields.map(([name, value]) => `${name}: ${value}`), ...timeout];
          expect(decoded(decoder, blocks.block(head, now.timeoutMs))).toEqual(expected);
        }
      },
    ),
    { seed: 4, numRuns: 300 },
  );
});

test('a peer that allows less is told of it once, and is sent no entry that it has thrown out', () => {
  const head = new CallHead([['x-shoal-caller', 'tenant']]);
  const blocks = new RequestBlocks();
  const never = Number.POSITIVE_INFINITY;
  blocks.block(head, never);
  expect(blocks.block(head, never).length).toBe(1);
  blocks.peerAllows(10);
  expect(blocks.block(head, never)[0]).toBe(0x20);
  expect(blocks.block(head, never)[0]).toBe(0x00);
  blocks.peerAllows(4096);
  expect(blocks.block(head, never)[0]).toBe(0x00);
});
