// Answers through windows of any size: whole, in order, and never more than the caller allowed.
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eventually } from '../../support/eventually.js';
import {
  endStream,
  grpcHeaders,
  grpcMessage,
  grpcRequest,
  headersFrame,
  RawPeer,
  rawFrame,
  settingsFrame,
  uint32,
} from './raw-peer.js';
import { paths, pattern, sizedRequest, UnaryRig } from './unary-rig.js';

let rig: UnaryRig;

beforeEach(async () => {
  rig = await UnaryRig.start({ limits: { streamWindowBytes: 100_000, connectionWindowBytes: 300_000 } });
});

afterEach(async () => {
  await rig.stop();
});

const sent = (peer: RawPeer, streamId?: number): number =>
  peer.frames
    .filter(({ type, streamId: id }) => type === 0 && (streamId === undefined || id === streamId))
    .reduce((sum, { payload }) => sum + payload.length, 0);

it('tiny windows: every answer comes whole and in order, and no window is overrun', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 100 }),
      fc.array(fc.integer({ min: 0, max: 700 }), { minLength: 1, maxLength: 6 }),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 90 })), { maxLength: 40 }),
      async (window, sizes, grants) => {
        const peer = await RawPeer.greeted(rig.port, [[4, window]]);
        for (const [i, bytes] of sizes.entries())
          peer.send(grpcRequest(2 * i + 1, paths.sized, sizedRequest(bytes, i)));
        const allowed = sizes.map(() => window);
        for (const [which, bytes] of grants) {
          const i = which % sizes.length;
          const before = peer.frames.length;
          allowed[i] = (allowed[i] ?? 0) + bytes;
          const isOver = peer.frames.some(({ flags, streamId }) => streamId === 2 * i + 1 && flags === 5);
          if (!isOver) peer.send(rawFrame(8, 0, 2 * i + 1, uint32(bytes)));
          if (before % 3 === 0) await peer.ping('grantin1');
        }
        await peer.ping('tinywin0');
        for (const [i, bytes] of allowed.entries()) expect(sent(peer, 2 * i + 1)).toBeLessThanOrEqual(bytes);
        // Open wide, by SETTINGS for those that are open.
        peer.send(settingsFrame([[4, 100_000]]));
        for (const [i, bytes] of sizes.entries()) {
          const body = await peer.body(2 * i + 1);
          expect(body.equals(grpcMessage(pattern(bytes, i)))).toBe(true);
          expect(await peer.trailers(2 * i + 1)).toContain('grpc-status');
        }
        peer.close();
      },
    ),
    { numRuns: 25 },
  );
});

it('the connection window is shared out fairly', async () => {
  const peer = await RawPeer.greeted(rig.port, [[4, 2 ** 31 - 1]]);
  for (let i = 0; i < 4; i++) peer.send(grpcRequest(2 * i + 1, paths.sized, sizedRequest(400_000, i)));
  await eventually(() => expect(sent(peer)).toBe(65_535));
  peer.send(rawFrame(8, 0, 0, uint32(800_000)));
  await eventually(() => expect(sent(peer)).toBe(865_535));
  // Each has its share, within a turn of four frames.
  const shares = [1, 3, 5, 7].map((id) => sent(peer, id));
  expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(2 * 65_536);
  peer.send(rawFrame(8, 0, 0, uint32(1_000_000)));
  for (let i = 0; i < 4; i++) {
    expect((await peer.body(2 * i + 1)).equals(grpcMessage(pattern(400_000, i)))).toBe(true);
  }
  peer.close();
});

it('a window may become negative', async () => {
  const peer = await RawPeer.greeted(rig.port, [[4, 1000]]);
  peer.send(grpcRequest(1, paths.sized, sizedRequest(3000, 1)));
  await eventually(() => expect(sent(peer)).toBe(1000));
  peer.send(settingsFrame([[4, 100]]), rawFrame(8, 0, 1, uint32(500)));
  await peer.ping('negative');
  expect(sent(peer)).toBe(1000);
  peer.send(rawFrame(8, 0, 1, uint32(401)));
  await eventually(() => expect(sent(peer)).toBe(1001));
  peer.send(settingsFrame([[4, 5000]]));
  expect((await peer.body(1)).equals(grpcMessage(pattern(3000, 1)))).toBe(true);
  peer.close();
});

it('frames are as large as the caller allows', async () => {
  const peer = await RawPeer.greeted(rig.port, [[4, 2 ** 31 - 1]]);
  peer.send(rawFrame(8, 0, 0, uint32(1_000_000)), grpcRequest(1, paths.sized, sizedRequest(200_000, 1)));
  await peer.body(1);
  const sizes = peer.frames.filter(({ type }) => type === 0).map(({ payload }) => payload.length);
  expect(Math.max(...sizes)).toBe(16_384);
  peer.close();
});

it('request windows are given back in halves', async () => {
  const peer = await RawPeer.greeted(rig.port);
  const grants = (streamId: number): number[] =>
    peer.frames
      .filter(({ type, streamId: id }) => type === 8 && id === streamId)
      .map(({ payload }) => payload.readUInt32BE(0));
  expect(grants(0)).toEqual([300_000 - 65_535]);
  const body = grpcMessage(Buffer.alloc(149_995));
  peer.send(headersFrame(1, grpcHeaders(paths.echo)));
  for (let at = 0; at < 90_000; at += 10_000) peer.send(rawFrame(0, 0, 1, body.subarray(at, at + 10_000)));
  await peer.ping('halfway!');
  expect(grants(1)).toEqual([50_000]);
  for (let at = 90_000; at < 150_000; at += 10_000) {
    peer.send(rawFrame(0, at === 140_000 ? endStream : 0, 1, body.subarray(at, at + 10_000)));
  }
  await peer.ping('all sent');
  expect(grants(1)).toEqual([50_000, 50_000]);
  expect(grants(0)).toEqual([300_000 - 65_535, 150_000]);
  peer.close();
});

it('a caller that overruns a window is stopped', async () => {
  await rig.stop();
  const windows = { streamWindowBytes: 10_000, connectionWindowBytes: 100_000 };
  rig = await UnaryRig.start({ limits: windows });
  const peer = await RawPeer.greeted(rig.port);
  peer.send(headersFrame(1, grpcHeaders(paths.hold)), rawFrame(0, 0, 1, Buffer.alloc(10_001)));
  expect(await peer.rst(1)).toBe(3);
  // The bytes of streams that are over count too, and come back.
  for (let i = 0; i < 20; i++) peer.send(rawFrame(0, 0, 1, Buffer.alloc(10_000)));
  await peer.ping('all well');
  peer.close();

  await rig.stop();
  rig = await UnaryRig.start({ limits: { ...windows, connectionWindowBytes: 65_536 } });
  const greedy = await RawPeer.greeted(rig.port);
  // One frame over half the window is answered with more window, so only a single large one overruns it.
  greedy.send(headersFrame(1, grpcHeaders(paths.hold)));
  await greedy.ping('opened 1');
  const before = greedy.frames.length;
  for (let i = 0; i < 6; i++) greedy.send(rawFrame(0, 0, 1, Buffer.alloc(16_000)));
  await greedy.ping('six sent');
  expect(greedy.frames.slice(before).filter(({ type, streamId }) => type === 8 && streamId === 0)).toHaveLength(2);
  greedy.close();
});

it('a caller that does not read is not read from, and memory stays bounded', async () => {
  await rig.stop();
  rig = await UnaryRig.start({ limits: { maxSocketBacklogBytes: 200_000 } });
  const peer = await RawPeer.greeted(rig.port, [[4, 2 ** 31 - 1]]);
  peer.send(rawFrame(8, 0, 0, uint32(2 ** 31 - 1 - 65_535)));
  peer.socket.pause();
  const asked = 3000;
  let asking = 1;
  // Each answer has 40 KB, 120 MB in all: far more than any buffer of the system holds.
  for (let i = 0; i < asked; i++)
    peer.send(grpcRequest(asking + 2 * i, paths.echo, pattern(40_000, i).subarray(0, 16_000)));
  asking += 2 * asked;
  await eventually(() => expect(peer.socket.writableLength).toBeGreaterThan(1_000_000));
  peer.socket.resume();
  const last = await peer.body(asking - 2);
  expect(last.equals(grpcMessage(pattern(40_000, asked - 1).subarray(0, 16_000)))).toBe(true);
  const over = peer.frames.filter(({ type, flags }) => type === 1 && (flags & endStream) !== 0);
  expect(over).toHaveLength(asked);
  peer.close();
});
