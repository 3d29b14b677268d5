// Broken and random bytes from a server: the client neither throws nor hangs, and ends every call exactly once.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshSeed, type Random, seededRandom } from '../../../core/random.js';
import type { UnaryOutcome } from '../../../platform/http2/unary-outcome.js';
import { connected } from './client-rig.js';
import { mutated, noise } from './mutation.js';
import { endHeaders, grpcMessage, rawFrame, settingsFrame, uint32 } from './raw-peer.js';
import { answerOf, headersOf, ok, RawServer, trailersOf } from './raw-server.js';

const path = '/test.Unary/Any';
const calls = 6;
let server: RawServer;

beforeAll(async () => {
  server = await RawServer.start();
});

afterAll(async () => {
  await server.stop();
});

/** Everything a well-behaved server might answer. */
function honest(random: Random): Buffer[] {
  const frames: Buffer[] = [];
  for (let call = 0; call < calls; call++) {
    const id = 1 + 2 * call;
    const message = Buffer.alloc(random.int(3000), id);
    switch (random.int(6)) {
      case 0:
        frames.push(trailersOf(id, [...ok, ['grpc-status', '8'], ['grpc-message', 'full %C3%A4']]));
        break;
      case 1: {
        const head = headersOf(id, ok).subarray(9);
        frames.push(rawFrame(1, 0, id, head.subarray(0, 5)), rawFrame(9, endHeaders, id, head.subarray(5)));
        frames.push(rawFrame(0, 0, id, grpcMessage(message)), trailersOf(id));
        break;
      }
      case 2:
        frames.push(rawFrame(3, 0, id, uint32(random.int(14))));
        break;
      case 3:
        frames.push(
          headersOf(id, ok),
          rawFrame(0, 8, id, Buffer.concat([Buffer.from([2]), grpcMessage(message), Buffer.alloc(2)])),
        );
        frames.push(trailersOf(id));
        break;
      case 4:
        frames.push(
          settingsFrame([
            [3, 100],
            [4, random.int(100_000)],
            [1, random.int(5000)],
          ]),
        );
        frames.push(rawFrame(6, 0, 0, Buffer.alloc(8)), rawFrame(8, 0, id, uint32(1 + random.int(1000))));
        frames.push(answerOf(id, message));
        break;
      default:
        frames.push(answerOf(id, message));
    }
  }
  return frames;
}

/** The outcomes of calls whose server sends `bytes` and then hangs up. */
async function outcomesOf(bytes: Buffer, random: Random): Promise<readonly UnaryOutcome[]> {
  const client = await connected(server.port);
  const outcomes: UnaryOutcome[] = [];
  const all = new Promise<void>((resolve) => {
    for (let call = 0; call < calls; call++) {
      const timeoutMs = random.next() < 0.2 ? random.int(20) + 1 : Number.POSITIVE_INFINITY;
      client.call(client.head(path), Buffer.from('x'), timeoutMs, (outcome) => {
        outcomes.push(outcome);
        if (outcomes.length === calls) resolve();
      });
    }
  });
  for (let at = 0; at < bytes.length; ) {
    const take = random.next() < 0.5 ? bytes.length : 1 + random.int(500);
    server.send(bytes.subarray(at, at + take));
    at += take;
  }
  server.hangUp();
  await all;
  expect(client.callCount).toBe(0);
  client.close();
  return outcomes;
}

const fresh = freshSeed();
const rounds = 150;

describe('bytes gone wrong', () => {
  it.each([
    ['1', 1],
    ['2', 2],
    [`${fresh} (fresh)`, fresh],
  ])('seed %s', async (label, seed) => {
    console.log(`http2 client fuzz: seed ${label}`);
    const random = seededRandom(seed);
    const outcomes: UnaryOutcome[] = [];
    for (let round = 0; round < rounds; round++) {
      const bytes = random.next() < 0.2 ? noise(random) : mutated(honest(random), random);
      outcomes.push(...(await outcomesOf(bytes, random)));
    }
    expect(outcomes).toHaveLength(rounds * calls);
    for (const { status, body } of outcomes) expect(body === undefined).toBe(status !== 0);
    expect(outcomes.filter(({ message }) => message.includes('Unexpected failure'))).toEqual([]);
    // All answers, or nothing but faults, would look at one half of the code only.
    const broke = outcomes.filter(({ fault }) => fault === 'protocol').length;
    const answered = outcomes.filter(({ status }) => status === 0).length;
    for (const count of [broke, answered]) expect(count).toBeGreaterThan(outcomes.length / 20);
  });
});
