// Broken and random bytes after the preface: the server neither throws nor hangs, and a good caller does not notice.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshSeed, type Random, seededRandom } from '../../../core/random.js';
import { eventually } from '../../support/eventually.js';
import { mutated, noise } from './mutation.js';
import {
  endHeaders,
  endStream,
  grpcHeaders,
  grpcMessage,
  grpcRequest,
  headersFrame,
  preface,
  RawPeer,
  rawFrame,
  settingsFrame,
  uint32,
} from './raw-peer.js';
import { paths, sizedRequest, UnaryRig } from './unary-rig.js';

let rig: UnaryRig;
let beside: RawPeer;
let besideId = 1;

beforeAll(async () => {
  rig = await UnaryRig.start();
  beside = await RawPeer.greeted(rig.port);
});

afterAll(async () => {
  beside.close();
  await rig.stop();
});

/** Everything a well-behaved caller might send. */
function honest(random: Random): Buffer[] {
  const frames = [settingsFrame([[4, random.int(200_000)]]), rawFrame(4, 1, 0)];
  for (let id = 1; id < 20; id += 2) {
    const extra: [string, string][] = [['x-custom', `value ${random.int(3)}`]];
    switch (random.int(6)) {
      case 0:
        frames.push(grpcRequest(id, paths.echo, Buffer.alloc(random.int(2000), id)));
        break;
      case 1:
        frames.push(grpcRequest(id, paths.sized, sizedRequest(random.int(50_000), id)));
        break;
      case 2:
        frames.push(
          headersFrame(id, [...grpcHeaders(paths.hold), ...extra]),
          rawFrame(0, 0, id, grpcMessage(Buffer.alloc(100))),
          rawFrame(3, 0, id, uint32(8)),
        );
        break;
      case 3: {
        const block = headersFrame(id, [...grpcHeaders(paths.fail), ...extra]).subarray(9);
        frames.push(rawFrame(1, 0, id, block.subarray(0, 20)), rawFrame(9, endHeaders, id, block.subarray(20)));
        frames.push(
          rawFrame(
            0,
            8 | endStream,
            id,
            Buffer.concat([Buffer.from([4]), grpcMessage(Buffer.alloc(9)), Buffer.alloc(4)]),
          ),
        );
        break;
      }
      case 4:
        frames.push(
          headersFrame(id, [...grpcHeaders(paths.behind), ...extra]),
          rawFrame(0, endStream, id, grpcMessage(Buffer.alloc(9))),
        );
        break;
      default:
        frames.push(
          rawFrame(6, 0, 0, Buffer.alloc(8)),
          rawFrame(8, 0, 0, uint32(1 + random.int(1000))),
          rawFrame(2, 0, id, Buffer.alloc(5)),
        );
    }
  }
  return frames;
}

async function send(bytes: Buffer, random: Random): Promise<boolean> {
  const peer = await RawPeer.connect(rig.port);
  peer.send(preface, random.next() < 0.8 ? settingsFrame() : Buffer.alloc(0));
  let at = 0;
  while (at < bytes.length) {
    const take = random.next() < 0.5 ? bytes.length : 1 + random.int(500);
    peer.send(bytes.subarray(at, at + take));
    at += take;
  }
  // It ends here, or it goes on: either way it says something to a PING, or waits for the rest of a frame.
  peer.send(rawFrame(6, 0, 0, Buffer.from('fuzzping')));
  peer.socket.end();
  await peer.closed();
  return peer.frames.some(({ type }) => type === 7);
}

const fresh = freshSeed();
const rounds = 150;

describe('bytes gone wrong', () => {
  it.each([
    ['1', 1],
    ['2', 2],
    ['3', 3],
    [`${fresh} (fresh)`, fresh],
  ])('seed %s', async (label, seed) => {
    console.log(`http2 fuzz: seed ${label}`);
    const random = seededRandom(seed);
    const before = rig.protocolErrors.length;
    let refused = 0;
    for (let round = 0; round < rounds; round++) {
      const bytes = random.next() < 0.25 ? noise(random) : mutated(honest(random), random);
      if (await send(bytes, random)) refused++;
      if (round % 10 !== 0) continue;
      beside.send(grpcRequest(besideId, paths.echo, Buffer.from(`round ${round}`)));
      expect(await beside.body(besideId)).toEqual(grpcMessage(Buffer.from(`round ${round}`)));
      besideId += 2;
    }
    // All fuzz and no refusals, or nothing but refusals, would look at one half of the code only.
    expect(refused).toBeGreaterThan(rounds / 10);
    expect(refused).toBeLessThan(rounds * 0.95);
    const ours = rig.protocolErrors.slice(before).filter((reason) => reason.includes('Unexpected failure'));
    expect(ours).toEqual([]);
    await eventually(() => expect(rig.server.connectionCount).toBe(1));
    expect(rig.server.streamCount).toBe(0);
    rig.held.length = 0;
  });
});
