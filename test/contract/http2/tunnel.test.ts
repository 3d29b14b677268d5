// Every call that is not one of the hot ones: it must be served by the grpc-js server behind as if there were no tunnel.
import { connect } from 'node:net';
import { type ClientDuplexStream, Metadata, type StatusObject } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation, service as healthService } from 'grpc-health-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { oipPackage } from '../../../platform/oip/service.js';
import { eventually } from '../../support/eventually.js';
import {
  endStream,
  grpcHeaders,
  grpcMessage,
  headersFrame,
  RawPeer,
  rawFrame,
  settingsFrame,
  uint32,
} from './raw-peer.js';
import { asIs, paths, pattern, UnaryRig, unary } from './unary-rig.js';

let rig: UnaryRig;
const health = new HealthImplementation({ '': 'SERVING' });

beforeEach(async () => {
  rig = await UnaryRig.start({}, (grpc) => {
    health.addToServer(grpc);
    new ReflectionService(oipPackage as PackageDefinition).addToServer(grpc);
  });
});

afterEach(async () => {
  await rig.stop();
});

function twice(metadata = new Metadata(), options: Record<string, string | number> = {}) {
  const call: ClientDuplexStream<Buffer, Buffer> = rig
    .client(options)
    .makeBidiStreamRequest(paths.twice, asIs, asIs, metadata);
  const messages: Buffer[] = [];
  let status: StatusObject | undefined;
  call.on('data', (message: Buffer) => messages.push(message));
  call.on('status', (last: StatusObject) => {
    status = last;
  });
  call.on('error', () => call.end());
  return {
    call,
    messages,
    status: () => eventually(() => status ?? expect.fail('the call has not ended')),
  };
}

it('a unary call with metadata both ways', async () => {
  const metadata = new Metadata();
  metadata.add('many', 'one');
  metadata.add('many', 'two');
  metadata.set('some-bin', Buffer.from([0, 255, 1]));
  metadata.set('shoal-peer', 'forged');
  const { error, trailer } = await unary(rig.client(), paths.behind, Buffer.from('x'), metadata);
  expect(error).toMatchObject({ code: 9, details: 'behind says nö' });
  expect(trailer('from')).toBe('behind');
  expect(trailer('some-bin')).toEqual(Buffer.from([0, 255, 1]));
  expect(String(trailer('many'))).toBe('one, two');
  expect(rig.seenBehind?.get('shoal-peer')).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+$/)]);
});

it('a method nobody has', async () => {
  const { error } = await unary(rig.client(), '/test.Nobody/Nothing', Buffer.from('x'), new Metadata());
  expect(error?.code).toBe(12);
});

it('a stream both ways, message by message', async () => {
  const { call, messages, status } = twice();
  for (let i = 1; i <= 3; i++) {
    call.write(Buffer.from(`message ${i}`));
    await eventually(() => expect(messages).toHaveLength(2 * i));
  }
  expect(messages.map(String)).toEqual(['1', '1', '2', '2', '3', '3'].map((i) => `message ${i}`));
  call.end();
  expect(await status()).toMatchObject({ code: 0 });
  await eventually(() => expect(rig.server.streamCount).toBe(0));
});

it('megabytes both ways, whole and in order, through windows of 64 KiB', async () => {
  const { call, messages, status } = twice(new Metadata(), { 'grpc-node.flow_control_window': 65_535 });
  const sent = Array.from({ length: 30 }, (_, i) => pattern(300_000, i));
  for (const message of sent) call.write(message);
  call.end();
  expect(await status()).toMatchObject({ code: 0 });
  expect(messages).toHaveLength(60);
  for (const [i, message] of messages.entries()) expect(message.equals(sent[i >> 1] ?? Buffer.alloc(0))).toBe(true);
});

it('a caller that cancels ends the stream behind; one that vanishes ends all of its', async () => {
  const first = twice();
  first.call.write(Buffer.from('x'));
  await eventually(() => expect(first.messages).toHaveLength(2));
  expect(rig.streamsBehind).toBe(1);
  first.call.cancel();
  expect(await first.status()).toMatchObject({ code: 1 });
  await eventually(() => expect(rig.streamsBehind).toBe(0));

  const peer = await RawPeer.greeted(rig.port);
  for (const id of [1, 3])
    peer.send(headersFrame(id, grpcHeaders(paths.twice)), rawFrame(0, 0, id, grpcMessage(Buffer.from('x'))));
  await eventually(() => expect(rig.streamsBehind).toBe(2));
  peer.close();
  await eventually(() => expect(rig.streamsBehind).toBe(0));
});

it('a caller that does not read holds the stream behind back, and nobody else', async () => {
  const peer = await RawPeer.greeted(rig.port, [[4, 1000]]);
  peer.send(headersFrame(1, grpcHeaders(paths.twice)));
  const message = grpcMessage(Buffer.alloc(16_000));
  for (let i = 0; i < 200; i++)
    peer.send(rawFrame(0, 0, 1, message.subarray(0, 16_000)), rawFrame(0, 0, 1, message.subarray(16_000)));
  await peer.ping('stalled?');
  const { messages, call, status } = twice();
  call.write(Buffer.from('free'));
  await eventually(() => expect(messages).toHaveLength(2));
  call.end();
  expect(await status()).toMatchObject({ code: 0 });
  const data = (): number =>
    peer.frames.filter(({ type }) => type === 0).reduce((sum, { payload }) => sum + payload.length, 0);
  expect(data()).toBe(1000);
  peer.send(rawFrame(8, 0, 1, uint32(2 ** 30)), rawFrame(8, 0, 0, uint32(2 ** 30)), rawFrame(0, endStream, 1));
  expect(await peer.body(1)).toHaveLength(400 * message.length);
  peer.close();
}, 20_000);

it('what the stream behind does not take is not given back to the caller, and has a limit', async () => {
  await rig.stop();
  rig = await UnaryRig.start({ limits: { streamWindowBytes: 8_000_000, maxUnfinishedBytes: 4_000_000 } });
  const peer = await RawPeer.greeted(rig.port, [[4, 0]]);
  peer.send(headersFrame(1, grpcHeaders(paths.twice)));
  const message = grpcMessage(Buffer.alloc(15_000));
  // The stream behind stops reading when its answers do not leave; 3 MB are then held on the way.
  for (let i = 0; i < 266; i++) peer.send(rawFrame(0, 0, 1, message));
  await peer.ping('all sent');
  expect(peer.frames.filter(({ type, streamId }) => type === 8 && streamId === 1)).toEqual([]);
  expect(rig.streamsBehind).toBe(1);
  for (let i = 0; i < 266; i++) peer.send(rawFrame(0, 0, 1, message));
  expect(await peer.rst(1)).toBe(0xb);
  await eventually(() => expect(rig.streamsBehind).toBe(0));
  // What was held is free again.
  peer.send(
    settingsFrame([[4, 100_000]]),
    headersFrame(3, grpcHeaders(paths.twice)),
    rawFrame(0, endStream, 3, message),
  );
  expect(await peer.body(3)).toHaveLength(2 * message.length);
  peer.close();
});

it('health checks and watches', async () => {
  const client = rig.client();
  const { Check: check, Watch: watch } = healthService as unknown as Record<
    'Check' | 'Watch',
    {
      path: string;
      requestSerialize: (value: { service: string }) => Buffer;
      responseDeserialize: (bytes: Buffer) => { status: string };
    }
  >;
  const state = await new Promise<{ status: string } | undefined>((resolve, reject) => {
    client.makeUnaryRequest(
      check.path,
      check.requestSerialize,
      check.responseDeserialize,
      { service: '' },
      (error, value) => (error === null ? resolve(value) : reject(error)),
    );
  });
  expect(state?.status).toBe('SERVING');
  const seen: string[] = [];
  const watching = client.makeServerStreamRequest(watch.path, watch.requestSerialize, watch.responseDeserialize, {
    service: '',
  });
  watching.on('data', ({ status }: { status: string }) => seen.push(status));
  watching.on('error', () => seen.push('over'));
  await eventually(() => expect(seen).toEqual(['SERVING']));
  health.setStatus('', 'NOT_SERVING');
  await eventually(() => expect(seen).toEqual(['SERVING', 'NOT_SERVING']));
  health.setStatus('', 'SERVING');
  watching.cancel();
  await eventually(() => expect(seen.at(-1)).toBe('over'));
});

it('reflection', async () => {
  const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
  const call = rig.client().makeBidiStreamRequest<Buffer, Buffer>(path, asIs, asIs);
  const answers: string[] = [];
  call.on('data', (bytes: Buffer) => answers.push(bytes.toString('latin1')));
  // list_services = 7
  call.write(Buffer.from([0x3a, 1, 0x2a]));
  await eventually(() => expect(answers[0]).toContain('inference.GRPCInferenceService'));
  call.end();
  await eventually(() => expect(rig.server.streamCount).toBe(0));
});

it('when the server behind is gone, its calls fail as UNAVAILABLE and the hot ones go on', async () => {
  await rig.stop();
  rig = await UnaryRig.start({ fallback: () => connect(1, '127.0.0.1') });
  const client = rig.client();
  const { error } = await unary(client, paths.behind, Buffer.from('x'), new Metadata());
  expect(error?.code).toBe(14);
  const hot = await unary(client, paths.echo, Buffer.from('y'), new Metadata());
  expect(String(hot.answer)).toBe('y');
  const again = await unary(client, paths.behind, Buffer.from('x'), new Metadata());
  expect(again.error?.code).toBe(14);
});

it('a way to the server behind that throws', async () => {
  await rig.stop();
  rig = await UnaryRig.start({
    fallback: () => {
      throw new Error('no way');
    },
  });
  const { error } = await unary(rig.client(), paths.behind, Buffer.from('x'), new Metadata());
  expect(error?.code).toBe(14);
});

it('the server behind dies in the middle of a stream, and comes back', async () => {
  const ends: { destroy(): void }[] = [];
  const real = rig;
  const middle = await UnaryRig.start({
    fallback: () => {
      const socket = connect(real.port, '127.0.0.1');
      ends.push(socket);
      return socket;
    },
  });
  const client = middle.client();
  const call = client.makeBidiStreamRequest(paths.twice, asIs, asIs);
  const messages: Buffer[] = [];
  let code: number | undefined;
  call.on('data', (message: Buffer) => messages.push(message));
  call.on('error', () => messages.push(Buffer.from('error')));
  call.on('status', (status: StatusObject) => {
    code = status.code;
  });
  call.write(Buffer.from('x'));
  await eventually(() => expect(messages).toHaveLength(2));
  for (const end of ends) end.destroy();
  await eventually(() => expect(code).toBeGreaterThan(0));
  const { error } = await unary(client, paths.behind, Buffer.from('x'), new Metadata());
  expect(error).toMatchObject({ code: 9 });
  await middle.stop();
});
