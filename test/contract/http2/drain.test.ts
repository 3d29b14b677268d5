// The end of a server: what is under way is answered, what comes later is refused, nothing is left.
import { Metadata } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eventually } from '../../support/eventually.js';
import { grpcMessage, grpcRequest, RawPeer, rawFrame } from './raw-peer.js';
import { paths, UnaryRig, unary } from './unary-rig.js';

let rig: UnaryRig;

beforeEach(async () => {
  rig = await UnaryRig.start();
});

afterEach(async () => {
  await rig.stop();
});

const goaways = (peer: RawPeer): number[] =>
  peer.frames.filter(({ type }) => type === 7).map(({ payload }) => payload.readUInt32BE(0));

it('two GOAWAYs, with a PING between them, and answers to all that came before the second', async () => {
  const peer = await RawPeer.greeted(rig.port);
  peer.send(grpcRequest(1, paths.hold, Buffer.from('early')));
  await eventually(() => expect(rig.held).toHaveLength(1));
  const drained = rig.server.drain(10_000);
  const { payload } = await peer.frame(({ type, flags }) => type === 6 && flags === 0);
  expect(goaways(peer)).toEqual([2 ** 31 - 1]);
  // Sent before the client had read the first GOAWAY, for all the server can know.
  peer.send(grpcRequest(3, paths.hold, Buffer.from('just in time')));
  await eventually(() => expect(rig.held).toHaveLength(2));
  peer.send(rawFrame(6, 1, 0, payload));
  await eventually(() => expect(goaways(peer)).toEqual([2 ** 31 - 1, 3]));
  peer.send(grpcRequest(5, paths.echo, Buffer.from('too late')));
  expect(await peer.rst(5)).toBe(7);
  for (const { message, reply } of rig.held) reply.answer({ body: [message] });
  expect(await peer.body(1)).toEqual(grpcMessage(Buffer.from('early')));
  expect(await peer.body(3)).toEqual(grpcMessage(Buffer.from('just in time')));
  await peer.closed();
  await drained;
  expect(rig.server.connectionCount).toBe(0);
});

it('a client that ignores the PING gets its second GOAWAY all the same', async () => {
  const peer = await RawPeer.greeted(rig.port);
  peer.send(grpcRequest(1, paths.hold, Buffer.from('x')));
  await eventually(() => expect(rig.held).toHaveLength(1));
  const drained = rig.server.drain(10_000);
  await eventually(() => expect(goaways(peer)).toEqual([2 ** 31 - 1, 1]));
  rig.held[0]?.reply.answer({ body: [] });
  await peer.closed();
  await drained;
});

it('connections without calls close at once, and no new ones are taken', async () => {
  const idle = await RawPeer.greeted(rig.port);
  const silent = await RawPeer.connect(rig.port);
  const drained = rig.server.drain(10_000);
  const { payload } = await idle.frame(({ type, flags }) => type === 6 && flags === 0);
  idle.send(rawFrame(6, 1, 0, payload));
  await drained;
  await idle.closed();
  await silent.closed();
  await expect(RawPeer.connect(rig.port)).rejects.toThrow('ECONNREFUSED');
});

it('calls that outlast the grace period are cancelled and told so, tunnelled ones are reset', async () => {
  const client = rig.client();
  const call = unary(client, paths.hold, Buffer.from('x'), new Metadata());
  const peer = await RawPeer.greeted(rig.port);
  const stream = grpcRequest(1, paths.twice, Buffer.from('x'));
  stream[stream.length - 6 - 9 + 4] = 0;
  peer.send(stream);
  await eventually(() => expect(rig.server.streamCount).toBe(2));
  await rig.server.drain(50);
  expect((await call).error).toMatchObject({ code: 14, details: 'This server shut down before the answer was ready.' });
  expect(rig.held[0]?.cancelled).toBe(1);
  await peer.closed();
  expect(rig.server.connectionCount).toBe(0);
});

it('grpc-js callers lose no call when a server drains under load', async () => {
  const client = rig.client();
  const outcomes: (number | undefined)[] = [];
  let asked = 0;
  const ask = async (): Promise<void> => {
    while (asked < 3000) {
      asked++;
      const { error } = await unary(client, paths.echo, Buffer.alloc(5000), new Metadata());
      outcomes.push(error?.code);
      if (error !== null) return;
    }
  };
  const callers = Array.from({ length: 20 }, ask);
  await eventually(() => expect(outcomes.length).toBeGreaterThan(300));
  await rig.server.drain(5000);
  await Promise.all(callers);
  // Answered, or refused because nobody listens any more; never lost half-way.
  const codes = new Set(outcomes);
  codes.delete(undefined);
  expect([...codes].filter((code) => code !== 14)).toEqual([]);
  expect(outcomes.filter((code) => code !== undefined).length).toBeLessThanOrEqual(20);
});
