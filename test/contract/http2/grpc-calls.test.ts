// Unary calls of a real client: grpc-js.
import { Metadata } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { wallClockMs } from '../../../core/clock.js';
import { eventually } from '../../support/eventually.js';
import { paths, pattern, sizedRequest, UnaryRig, unary } from './unary-rig.js';

let rig: UnaryRig;

beforeEach(async () => {
  rig = await UnaryRig.start();
});

afterEach(async () => {
  await rig.stop();
});

const text = (bytes: Buffer | undefined): string => bytes?.toString() ?? 'nothing';

it('an answer comes with its trailers', async () => {
  const outcome = await unary(rig.client(), paths.echo, Buffer.from('hello'), new Metadata());
  expect(outcome.error).toBeNull();
  expect(text(outcome.answer)).toBe('hello');
  expect(outcome.trailer('shoal-timing')).toBe('queue=1');
});

it('an empty message is a message', async () => {
  const { error, answer } = await unary(rig.client(), paths.echo, Buffer.alloc(0), new Metadata());
  expect(error).toBeNull();
  expect(answer).toHaveLength(0);
});

it('a failure comes with its sentence and its details', async () => {
  const { error, trailer } = await unary(rig.client(), paths.fail, Buffer.from('x'), new Metadata());
  expect(error).toMatchObject({ code: 3, details: 'Eingabe "ξ" hat 100 % zu viel\nZeilen' });
  expect(trailer('shoal-error')).toBe('INVALID_REQUEST');
  expect(trailer('grpc-status-details-bin')).toEqual(Buffer.from([0, 1, 2, 255]));
});

it('a method that throws fails its own call only', async () => {
  const client = rig.client();
  const [thrown, fine] = await Promise.all([
    unary(client, paths.throws, Buffer.from('x'), new Metadata()),
    unary(client, paths.echo, Buffer.from('y'), new Metadata()),
  ]);
  expect(thrown.error).toMatchObject({ code: 13, details: 'thrown: Error: a bug' });
  expect(text(fine.answer)).toBe('y');
});

it('the method sees headers, the peer and what is left of the deadline', async () => {
  const metadata = new Metadata();
  metadata.set('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
  metadata.add('twice', 'one');
  metadata.add('twice', 'two');
  const call = unary(rig.client(), paths.hold, Buffer.from('m'), metadata, { deadline: wallClockMs() + 20_000 });
  const held = await eventually(() => rig.held[0] ?? expect.fail('the call has not come'));
  expect(held.call.header('traceparent')).toBe('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
  expect(held.call.header('twice')).toBe('two');
  expect(held.call.header('absent')).toBeUndefined();
  expect(held.call.peer).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(held.call.timeoutMs).toBeGreaterThan(15_000);
  expect(held.call.timeoutMs).toBeLessThanOrEqual(20_000);
  expect(text(held.message)).toBe('m');
  expect(held.call.message).toHaveLength(0);
  held.reply.answer({ body: [Buffer.from('a'), Buffer.from('b')] });
  held.reply.answer({ body: [Buffer.from('again')] });
  held.reply.fail({ status: 13, message: 'nor this' });
  expect(text((await call).answer)).toBe('ab');
  expect(held.cancelled).toBe(0);
});

it('a call without a deadline has all the time', async () => {
  const call = unary(rig.client(), paths.hold, Buffer.from('m'), new Metadata());
  const held = await eventually(() => rig.held[0] ?? expect.fail('the call has not come'));
  expect(held.call.timeoutMs).toBe(Number.POSITIVE_INFINITY);
  held.reply.answer({ body: [] });
  expect((await call).answer).toHaveLength(0);
});

it('a caller that cancels, or runs out of time, cancels once', async () => {
  const client = rig.client();
  const cancelled = unary(client, paths.hold, Buffer.from('1'), new Metadata());
  await eventually(() => expect(rig.held).toHaveLength(1));
  cancelled.cancel();
  await eventually(() => expect(rig.held[0]?.cancelled).toBe(1));
  expect((await cancelled).error).toMatchObject({ code: 1 });
  const late = await unary(client, paths.hold, Buffer.from('2'), new Metadata(), { deadline: wallClockMs() + 50 });
  expect(late.error).toMatchObject({ code: 4 });
  await eventually(() => expect(rig.held[1]?.cancelled).toBe(1));
  // Too late, and nobody minds.
  for (const { reply } of rig.held) reply.answer({ body: [Buffer.from('late')] });
  expect(rig.held.map(({ cancelled: count }) => count)).toEqual([1, 1]);
  expect(rig.server.streamCount).toBe(0);
  expect(text((await unary(client, paths.echo, Buffer.from('still here'), new Metadata())).answer)).toBe('still here');
});

it('a caller that vanishes cancels all its calls once', async () => {
  const client = rig.client();
  const calls = Array.from({ length: 5 }, () => unary(client, paths.hold, Buffer.from('x'), new Metadata()));
  await eventually(() => expect(rig.held).toHaveLength(5));
  client.close();
  for (const call of calls) call.cancel();
  await eventually(() => expect(rig.held.map(({ cancelled }) => cancelled)).toEqual([1, 1, 1, 1, 1]));
  await eventually(() => expect(rig.server.connectionCount).toBe(0));
});

it('20 MB go both ways', async () => {
  const client = rig.client({ 'grpc.max_send_message_length': -1 });
  const body = pattern(20_000_000, 3);
  const [echoed, sized] = await Promise.all([
    unary(client, paths.echo, body, new Metadata()),
    unary(client, paths.sized, sizedRequest(20_000_000, 9), new Metadata()),
  ]);
  expect(echoed.error).toBeNull();
  expect(echoed.answer?.equals(body)).toBe(true);
  expect(sized.answer?.equals(pattern(20_000_000, 9))).toBe(true);
});

it('hundreds of calls at once each get their own answer, whatever its size', async () => {
  const clients = [rig.client(), rig.client({ 'grpc-node.flow_control_window': 8 * 1024 * 1024 })];
  const sizes = [0, 1, 100, 4096, 8192, 8193, 16_379, 16_380, 65_536, 300_000];
  const outcomes = await Promise.all(
    Array.from({ length: 600 }, async (_, i) => {
      const bytes = sizes[i % sizes.length] ?? 0;
      const client = clients[i % 2] ?? rig.client();
      const { answer } = await unary(client, paths.sized, sizedRequest(bytes, i), new Metadata());
      return answer?.equals(pattern(bytes, i)) === true;
    }),
  );
  expect(outcomes.filter((isRight) => !isRight)).toEqual([]);
  expect(rig.server.streamCount).toBe(0);
});

it('a message larger than allowed is refused, and the connection serves on', async () => {
  const client = rig.client({ 'grpc.max_send_message_length': -1 });
  const { error } = await unary(client, paths.echo, Buffer.alloc(33 * 1024 * 1024), new Metadata());
  expect(error).toMatchObject({
    code: 8,
    details: 'The request message has 34603008 bytes; at most 33554432 are accepted.',
  });
  expect(text((await unary(client, paths.echo, Buffer.from('ok'), new Metadata())).answer)).toBe('ok');
});

it.each([
  ['gzip', 2],
  ['deflate', 1],
])('a message compressed with %s is understood', async (_name, algorithm) => {
  const client = rig.client({ 'grpc.default_compression_algorithm': algorithm });
  const body = pattern(100_000, 5);
  const calls = Array.from({ length: 20 }, () => unary(client, paths.echo, body, new Metadata()));
  for (const { answer, error } of await Promise.all(calls)) {
    expect(error).toBeNull();
    expect(answer?.equals(body)).toBe(true);
  }
});

it('a message that decompresses to more than allowed is refused', async () => {
  const client = rig.client({ 'grpc.default_compression_algorithm': 2, 'grpc.max_send_message_length': -1 });
  const { error } = await unary(client, paths.echo, Buffer.alloc(33 * 1024 * 1024), new Metadata());
  expect(error).toMatchObject({
    code: 8,
    details: 'The request message decompresses to more than the 33554432 bytes allowed.',
  });
});
