// Every limit reached once, with a good connection beside it that must not notice.
import { afterEach, expect, it } from 'vitest';
import type { ConnectionLimits } from '../../../platform/http2/limits.js';
import { eventually } from '../../support/eventually.js';
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
let peer: RawPeer;
let beside: RawPeer;
let besideId = 1;

async function start(limits: Partial<ConnectionLimits>, settings: readonly (readonly [number, number])[] = []) {
  rig = await UnaryRig.start({ limits });
  peer = await RawPeer.greeted(rig.port, settings);
  beside = await RawPeer.greeted(rig.port);
  besideId = 1;
}

afterEach(async () => {
  // The good neighbour is served to the end.
  const streamId = besideId;
  beside.send(grpcRequest(streamId, paths.echo, Buffer.from('good')));
  expect(await beside.body(streamId)).toEqual(grpcMessage(Buffer.from('good')));
  beside.close();
  peer.close();
  await rig.stop();
});

const calm = 0xb;
const opened = (streamId: number): Buffer => headersFrame(streamId, grpcHeaders(paths.hold));
const repeated = (times: number, frame: (i: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: times }, (_, i) => frame(i)));

async function endsCalmly(sentence: string): Promise<void> {
  const { code, reason } = await peer.goaway();
  expect(code).toBe(calm);
  expect(reason).toContain(sentence);
  await peer.closed();
  await eventually(() => expect(rig.server.connectionCount).toBe(1));
}

it('concurrent streams: more are refused, and may be tried again', async () => {
  await start({ maxConcurrentStreams: 3 });
  peer.send(repeated(4, (i) => opened(2 * i + 1)));
  expect(await peer.rst(7)).toBe(7);
  expect(rig.server.streamCount).toBe(3);
  // What follows a refused stream's headers is no fault.
  peer.send(rawFrame(0, endStream, 7, Buffer.alloc(10)), rawFrame(3, 0, 1, uint32(8)));
  peer.send(grpcRequest(9, paths.echo, Buffer.from('again')));
  expect(await peer.body(9)).toEqual(grpcMessage(Buffer.from('again')));
});

it('header list: a request with more is answered, and later headers still make sense', async () => {
  await start({ maxHeaderListBytes: 2000 });
  const big = [...grpcHeaders(paths.echo), ['big', 'v'.repeat(2000)] as [string, string]];
  peer.send(headersFrame(1, big), rawFrame(0, endStream, 1, grpcMessage(Buffer.from('x'))));
  expect(await peer.trailers(1)).toContain('headers are larger than the 2000 bytes allowed');
  peer.send(grpcRequest(3, paths.echo, Buffer.from('small')));
  expect(await peer.body(3)).toEqual(grpcMessage(Buffer.from('small')));
});

it('header list: one entry of the table, named over and over, is counted each time', async () => {
  await start({});
  const head = headersFrame(1, grpcHeaders(paths.echo)).subarray(9);
  const large = Buffer.concat([Buffer.from([0x40, 1, 0x61, 0x7f, 0xa1, 0x1e]), Buffer.alloc(4000, 0x7a)]);
  peer.send(rawFrame(1, endHeaders | endStream, 1, Buffer.concat([head, large, Buffer.alloc(8000, 0xbe)])));
  expect(await peer.trailers(1)).toContain('larger than the 16384 bytes allowed');
});

it('header block: larger than allowed ends the connection before it is whole', async () => {
  await start({ maxHeaderBlockBytes: 20_000 });
  peer.send(
    rawFrame(1, 0, 1, Buffer.alloc(16_000, 0x82)),
    rawFrame(9, 0, 1, Buffer.alloc(16_000, 0x82)).subarray(0, 9),
  );
  await endsCalmly('larger than the 20000 bytes allowed');
});

it('CONTINUATION flood: empty frames without end', async () => {
  await start({ maxContinuations: 5 });
  peer.send(
    headersFrame(1, grpcHeaders(paths.echo), 0),
    repeated(10, () => rawFrame(9, 0, 1)),
  );
  await endsCalmly('more than the 5 CONTINUATION frames allowed');
});

it('a header block that never ends', async () => {
  await start({ handshakeMs: 200 });
  peer.send(headersFrame(1, grpcHeaders(paths.echo), 0));
  await endsCalmly('did not end in time');
});

it('rapid reset: streams opened only to be reset', async () => {
  await start({ maxQuickResetsPerSecond: 50, youngStreamMs: 10_000 });
  peer.send(repeated(200, (i) => Buffer.concat([opened(2 * i + 1), rawFrame(3, 0, 2 * i + 1, uint32(8))])));
  await endsCalmly('opened only to be reset');
  expect(rig.server.streamCount).toBe(0);
});

it('rapid reset the other way: streams that make the server reset them', async () => {
  await start({ maxQuickResetsPerSecond: 50, youngStreamMs: 10_000 });
  peer.send(repeated(200, (i) => Buffer.concat([opened(2 * i + 1), rawFrame(8, 0, 2 * i + 1, uint32(0))])));
  await endsCalmly('opened only to be reset');
});

it('callers whose patience ends may reset as many as they like', async () => {
  await start({ maxQuickResetsPerSecond: 5, youngStreamMs: -1 });
  peer.send(repeated(200, (i) => Buffer.concat([opened(2 * i + 1), rawFrame(3, 0, 2 * i + 1, uint32(8))])));
  await peer.ping('patience');
  expect(peer.isClosed).toBe(false);
});

it('PING flood', async () => {
  await start({ maxPingsPerSecond: 50 });
  peer.send(repeated(200, () => rawFrame(6, 0, 0, Buffer.alloc(8))));
  await endsCalmly('Too many PINGs');
});

it('SETTINGS flood', async () => {
  await start({ maxSettingsPerSecond: 20 });
  peer.send(repeated(100, (i) => settingsFrame([[4, i]])));
  await endsCalmly('Too many SETTINGS');
});

it.each([
  ['empty DATA', () => rawFrame(0, 0, 1)],
  ['DATA of padding only', () => rawFrame(0, 8, 1, Buffer.from([3, 0, 0, 0]))],
  ['PRIORITY', () => rawFrame(2, 0, 1, Buffer.alloc(5))],
  ['unknown frames', () => rawFrame(77, 0, 1, Buffer.alloc(5))],
  ['resets of streams that are over', () => rawFrame(3, 0, 3, uint32(8))],
  ['DATA for streams that are over', () => rawFrame(0, 0, 3, Buffer.alloc(1))],
])('idle frames: %s', async (_what, frame) => {
  await start({ maxIdleFramesPerSecond: 50 });
  peer.send(opened(1), opened(3), rawFrame(3, 0, 3, uint32(8)), repeated(200, frame));
  await endsCalmly('Too many idle frames');
});

it('idle frames: streams beyond the limit, opened for ever', async () => {
  await start({ maxIdleFramesPerSecond: 50, maxConcurrentStreams: 1 });
  peer.send(repeated(200, (i) => opened(2 * i + 1)));
  await endsCalmly('Too many idle frames');
});

it('unfinished messages: one more byte than allowed is one too many', async () => {
  await start({ maxUnfinishedBytes: 30_000 });
  const begun = Buffer.concat([Buffer.from([0, 0, 1, 0, 0]), Buffer.alloc(10_000)]);
  for (const id of [1, 3, 5]) peer.send(opened(id), rawFrame(0, 0, id, begun));
  await peer.ping('3 * 10kB');
  expect(rig.server.streamCount).toBe(3);
  peer.send(opened(7), rawFrame(0, 0, 7, begun));
  expect(await peer.trailers(7)).toContain('more than 30000 bytes of unfinished messages');
  // A stream that is reset gives its share back.
  peer.send(rawFrame(3, 0, 1, uint32(8)), opened(9), rawFrame(0, 0, 9, begun));
  await peer.ping('3 again!');
  expect(rig.server.streamCount).toBe(3);
});

it('unsent answers: a caller that keeps its window shut gets no more streams', async () => {
  await start({ maxUnsentBytes: 100_000 }, [[4, 0]]);
  peer.send(repeated(3, (i) => grpcRequest(2 * i + 1, paths.sized, sizedRequest(60_000, i))));
  await eventually(async () => {
    await peer.ping(`${peer.frames.length}`.padStart(8));
    const { length } = peer.frames.filter(({ type }) => type === 1);
    expect(length).toBe(3);
  });
  peer.send(grpcRequest(7, paths.sized, sizedRequest(1, 1)));
  expect(await peer.rst(7)).toBe(7);
  peer.send(settingsFrame([[4, 70_000]]), rawFrame(8, 0, 0, uint32(1_000_000)));
  await peer.body(1);
  await peer.body(5);
  peer.send(grpcRequest(9, paths.sized, sizedRequest(1, 1)));
  expect(await peer.body(9)).toHaveLength(6);
});

it('message size: refused at its prefix, whatever follows', async () => {
  await start({});
  peer.send(opened(1), rawFrame(0, 0, 1, Buffer.from([0, 0xff, 0xff, 0xff, 0xff])));
  expect(await peer.trailers(1)).toContain('The request message has 4294967295 bytes; at most 33554432 are accepted.');
  expect(await peer.rst(1)).toBe(0);
  peer.send(
    repeated(5, () => rawFrame(0, 0, 1, Buffer.alloc(16_000))),
    rawFrame(0, endStream, 1),
  );
  await peer.ping('no fault');
});

it('handshake: a client that says nothing, or stops halfway, is let go', async () => {
  await start({ handshakeMs: 200 });
  const silent = await RawPeer.connect(rig.port);
  const halfway = await RawPeer.connect(rig.port);
  halfway.send(preface.subarray(0, 10));
  const noSettings = await RawPeer.connect(rig.port);
  noSettings.send(preface);
  for (const one of [silent, halfway, noSettings]) {
    expect((await one.goaway()).reason).toContain('did not say hello in time');
    await one.closed();
  }
  expect(peer.isClosed).toBe(false);
});

it('keepalive: with calls under way, a caller that does not even answer a PING is gone', async () => {
  await start({ keepaliveMs: 100, keepaliveTimeoutMs: 200 });
  const alive = await RawPeer.greeted(rig.port);
  alive.send(grpcRequest(1, paths.hold, Buffer.from('x')));
  peer.send(grpcRequest(1, paths.hold, Buffer.from('x')));
  await eventually(() => expect(rig.held).toHaveLength(2));
  const { payload } = await alive.frame(({ type, flags }) => type === 6 && flags === 0);
  const answering = setInterval(() => alive.send(rawFrame(6, 1, 0, payload)), 50);
  await peer.closed();
  await eventually(() => expect(rig.held.map(({ cancelled }) => cancelled).sort()).toEqual([0, 1]));
  expect(alive.isClosed).toBe(false);
  clearInterval(answering);
  alive.close();
});

it('a caller that asks and never reads is gone after the same while', async () => {
  await start({ keepaliveMs: 100, keepaliveTimeoutMs: 200, maxSocketBacklogBytes: 100_000 }, [[4, 2 ** 31 - 1]]);
  peer.send(rawFrame(8, 0, 0, uint32(2 ** 30)));
  await peer.ping('about to');
  peer.socket.pause();
  peer.send(repeated(500, (i) => grpcRequest(2 * i + 1, paths.sized, sizedRequest(60_000, i))));
  await eventually(() => expect(rig.server.connectionCount).toBe(1));
  expect(rig.server.streamCount).toBe(0);
});

it('connections: those beyond the limit are closed at once', async () => {
  await start({});
  const small = await UnaryRig.start({ maxConnections: 1 });
  const first = await RawPeer.greeted(small.port);
  const second = await RawPeer.connect(small.port);
  await second.closed();
  await first.ping('still on');
  first.close();
  await small.stop();
});
