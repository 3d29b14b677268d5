// What a server may do wrong, byte by byte, and what a call of our client ends with for it.
import { afterEach, describe, expect, it } from 'vitest';
import type { GrpcUnaryClient } from '../../../platform/http2/grpc-unary-client.js';
import { ErrorCode } from '../../../platform/http2/protocol.js';
import { eventually } from '../../support/eventually.js';
import { calling, connected } from './client-rig.js';
import { endHeaders, endStream, grpcMessage, rawFrame, settingsFrame, uint32 } from './raw-peer.js';
import { answerOf, headersOf, ok, RawServer, trailersOf } from './raw-server.js';

const path = '/test.Unary/Any';
const hello = Buffer.from('hello');
const message = rawFrame(0, 0, 1, grpcMessage(hello));
const last = (payload: Uint8Array): Buffer => rawFrame(0, endStream, 1, payload);

let server: RawServer;
let client: GrpcUnaryClient;

async function begin(hi?: Uint8Array, limits = {}): Promise<void> {
  server = await RawServer.start(hi);
  client = await connected(server.port, { limits, maxMessageBytes: 10_000 });
}

afterEach(async () => {
  client.close();
  await server.stop();
});

describe('a call fails, and the connection lives, after', () => {
  it.each<[string, Buffer[], object]>([
    [
      'trailers only',
      [trailersOf(1, [...ok, ['grpc-status', '5'], ['grpc-message', 'no such']])],
      { status: 5, fault: undefined, message: 'no such' },
    ],
    ['OK without an answer', [headersOf(1, ok), trailersOf(1)], { status: 13, fault: 'no-message' }],
    ['OK without anything', [trailersOf(1, [...ok, ['grpc-status', '0']])], { status: 13, fault: 'no-message' }],
    [
      'half a message',
      [headersOf(1, ok), rawFrame(0, 0, 1, grpcMessage(hello).subarray(0, 7)), trailersOf(1)],
      { status: 13, fault: 'cut-off' },
    ],
    [
      'half a prefix',
      [headersOf(1, ok), rawFrame(0, 0, 1, Buffer.alloc(3)), trailersOf(1)],
      { status: 13, fault: 'cut-off' },
    ],
    ['two messages', [headersOf(1, ok), message, message, trailersOf(1)], { status: 12, fault: 'second-message' }],
    [
      'a message and a bit',
      [headersOf(1, ok), rawFrame(0, 0, 1, Buffer.concat([grpcMessage(hello), Buffer.alloc(1)])), trailersOf(1)],
      { status: 12, fault: 'second-message' },
    ],
    [
      'too large a message',
      [headersOf(1, ok), rawFrame(0, 0, 1, Buffer.from([0, 0, 0, 0x27, 0x11])), trailersOf(1)],
      { status: 8, fault: 'too-large' },
    ],
    [
      'a compressed message',
      [headersOf(1, ok), rawFrame(0, 0, 1, Buffer.from([1, 0, 0, 0, 1, 7])), trailersOf(1)],
      { status: 13, fault: 'compressed' },
    ],
    ['an end without trailers', [headersOf(1, ok), last(grpcMessage(hello))], { status: 2, fault: 'no-status' }],
    [
      'trailers without a status',
      [headersOf(1, ok), message, trailersOf(1, [['a', 'b']])],
      { status: 2, fault: 'no-status' },
    ],
    [
      'a status that is no number',
      [headersOf(1, ok), message, trailersOf(1, [['grpc-status', 'ok']])],
      { status: 2, fault: 'no-status' },
    ],
    ['an answer without a head', [message, trailersOf(1)], { status: 13, fault: 'headers' }],
    [
      'a head without :status',
      [headersOf(1, [['content-type', 'application/grpc']])],
      { status: 13, fault: 'headers' },
    ],
    ['a head with :path', [headersOf(1, [...ok, [':path', '/']])], { status: 13, fault: 'headers' }],
    ['two heads', [headersOf(1, ok), headersOf(1, ok)], { status: 13, fault: 'headers' }],
    [
      'trailers that do not end',
      [headersOf(1, ok), message, headersOf(1, [['grpc-status', '0']])],
      { status: 13, fault: 'headers' },
    ],
    ['too large a head', [headersOf(1, [...ok, ['x', 'y'.repeat(16_300)]])], { status: 8, fault: 'headers' }],
    ['HTTP 503', [trailersOf(1, [[':status', '503']])], { status: 14, fault: 'http-status' }],
    [
      'HTTP 404 with a page',
      [
        headersOf(1, [
          [':status', '404'],
          ['content-type', 'text/html'],
        ]),
        last(hello),
      ],
      { status: 12, fault: 'http-status' },
    ],
    [
      'a web page',
      [
        headersOf(1, [
          [':status', '200'],
          ['content-type', 'text/html'],
        ]),
        last(hello),
      ],
      { status: 2, fault: 'content-type' },
    ],
    ['a reset', [rawFrame(3, 0, 1, uint32(ErrorCode.INTERNAL_ERROR))], { status: 13, fault: 'reset' }],
    [
      'a reset in the middle',
      [headersOf(1, ok), message, rawFrame(3, 0, 1, uint32(ErrorCode.CANCEL))],
      { status: 1, fault: 'reset' },
    ],
    ['a refusal', [rawFrame(3, 0, 1, uint32(ErrorCode.REFUSED_STREAM))], { status: 14, fault: 'refused' }],
    ['calm asked for', [rawFrame(3, 0, 1, uint32(ErrorCode.ENHANCE_YOUR_CALM))], { status: 8, fault: 'reset' }],
    ['a window of nothing', [rawFrame(8, 0, 1, uint32(0))], { status: 13, fault: 'protocol' }],
    ['a window without end', [rawFrame(8, 0, 1, uint32(0x7fffffff))], { status: 13, fault: 'protocol' }],
  ])('%s', async (_what, frames, expected) => {
    await begin();
    const call = calling(client, path, hello);
    await server.request(1);
    server.send(...frames);
    expect(await call).toMatchObject({ body: undefined, ...expected });
    const next = calling(client, path, hello);
    await server.request(3);
    server.send(answerOf(3, Buffer.from('fine')));
    expect((await next).body?.toString()).toBe('fine');
  });
});

it('a call fails that is sent more data than its window allows', async () => {
  await begin(undefined, { streamWindowBytes: 1000 });
  const call = calling(client, path, hello);
  await server.request(1);
  server.send(headersOf(1, ok), rawFrame(0, 0, 1, Buffer.alloc(8000)));
  expect(await call).toMatchObject({ status: 13, fault: 'protocol' });
  expect(await server.rst(1)).toBe(ErrorCode.FLOW_CONTROL_ERROR);
});

describe('the connection ends, and its calls with it, after', () => {
  it.each<[string, Buffer, string]>([
    ['a frame larger than allowed', Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), 'FRAME_SIZE_ERROR'],
    ['headers for a stream nobody opened', headersOf(5, ok), 'PROTOCOL_ERROR'],
    ['data for a stream of its own', rawFrame(0, 0, 2, hello), 'PROTOCOL_ERROR'],
    ['a push', rawFrame(5, endHeaders, 1, Buffer.alloc(8)), 'PROTOCOL_ERROR'],
    [
      'a header block that was interrupted',
      Buffer.concat([headersOf(1, ok, 0), rawFrame(6, 0, 0, Buffer.alloc(8))]),
      'PROTOCOL_ERROR',
    ],
    ['an entry of no table', rawFrame(1, endHeaders, 1, Buffer.from([0xff, 0x7f])), 'COMPRESSION_ERROR'],
    ['a table larger than ours', rawFrame(1, endHeaders, 1, Buffer.from([0x3f, 0xe2, 0x1f])), 'COMPRESSION_ERROR'],
    ['padding longer than its frame', rawFrame(0, 8, 1, Buffer.from([9, 1, 2])), 'PROTOCOL_ERROR'],
    ['a connection window without end', rawFrame(8, 0, 0, uint32(0x7fffffff)), 'FLOW_CONTROL_ERROR'],
    ['a first window without end', settingsFrame([[4, 0x80000000]]), 'FLOW_CONTROL_ERROR'],
    ['SETTINGS cut off', rawFrame(4, 0, 0, Buffer.alloc(5)), 'FRAME_SIZE_ERROR'],
    ['a PING cut off', rawFrame(6, 0, 0, Buffer.alloc(7)), 'FRAME_SIZE_ERROR'],
    ['PINGs without end', Buffer.concat(Array(50).fill(rawFrame(6, 0, 0, Buffer.alloc(8)))), 'ENHANCE_YOUR_CALM'],
    ['SETTINGS without end', Buffer.concat(Array(50).fill(settingsFrame())), 'ENHANCE_YOUR_CALM'],
    ['empty frames without end', Buffer.concat(Array(50).fill(rawFrame(0, 0, 1))), 'ENHANCE_YOUR_CALM'],
    [
      'a header block without end',
      Buffer.concat([headersOf(1, ok, 0), ...Array(50).fill(rawFrame(9, 0, 1))]),
      'ENHANCE_YOUR_CALM',
    ],
  ])('%s', async (_what, bytes, code) => {
    await begin(undefined, {
      maxPingsPerSecond: 20,
      maxSettingsPerSecond: 20,
      maxIdleFramesPerSecond: 20,
    });
    const calls = [calling(client, path, hello), calling(client, path, hello)];
    await server.request(3);
    server.send(bytes);
    const outcome = await calls[1];
    expect(outcome).toMatchObject({ status: 14, fault: 'protocol' });
    expect(outcome?.message).toContain(code);
    await calls[0];
    expect((await server.goaway()).code).toBe(ErrorCode[code as keyof typeof ErrorCode]);
    await eventually(() => expect(server.isClosed).toBe(true));
    expect(await calling(client, path, hello)).toMatchObject({ status: 14, fault: 'protocol' });
  });
});

describe('before the first call', () => {
  it.each<[string, Buffer, string]>([
    ['HTTP/1', Buffer.from('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'), 'protocol'],
    ['something else first', rawFrame(6, 0, 0, Buffer.alloc(8)), 'protocol'],
    ['an acknowledgement first', rawFrame(4, 1, 0), 'protocol'],
    ['a push setting that cannot be', settingsFrame([[2, 2]]), 'protocol'],
  ])('a server that says %s is not connected to', async (_what, bytes, fault) => {
    await begin();
    const odd = await RawServer.start(bytes);
    await expect(connected(odd.port)).rejects.toMatchObject({ name: 'ConnectFailure', fault });
    await odd.stop();
  });

  it('a server that says nothing is given up in time', async () => {
    await begin();
    const mute = await RawServer.start(Buffer.alloc(0));
    const { GrpcUnaryClient } = await import('../../../platform/http2/grpc-unary-client.js');
    const address = `127.0.0.1:${mute.port}`;
    await expect(GrpcUnaryClient.connect({ address }, 50)).rejects.toMatchObject({ fault: 'silent' });
    await mute.stop();
  });
});

describe('what is unusual and right', () => {
  it('an answer byte by byte, with padding, priority, CONTINUATION, an informational head and unknown frames', async () => {
    await begin();
    const call = calling(client, path, hello);
    await server.request(1);
    const head = headersOf(1, ok).subarray(9);
    const padded = Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 9]), head.subarray(0, 1), Buffer.alloc(3)]);
    const bytes = Buffer.concat([
      rawFrame(0x42, 0xff, 7, Buffer.from('what is this')),
      headersOf(1, [[':status', '103']]),
      rawFrame(1, 8 | 0x20, 1, padded),
      rawFrame(9, 0, 1, head.subarray(1, 3)),
      rawFrame(9, endHeaders, 1, head.subarray(3)),
      rawFrame(0, 8, 1, Buffer.concat([Buffer.from([4]), grpcMessage(hello).subarray(0, 6), Buffer.alloc(4)])),
      rawFrame(0, 0, 1),
      rawFrame(0, 0, 1, grpcMessage(hello).subarray(6)),
      trailersOf(1),
    ]);
    for (const byte of bytes) server.send(Buffer.from([byte]));
    expect(await call).toMatchObject({ status: 0, fault: undefined });
    expect((await call).body?.toString()).toBe('hello');
  });

  it('a dynamic table that is filled, resized and emptied, with Huffman texts', async () => {
    await begin();
    // RFC 7541, C.6.1: ":status: 302" and "cache-control: private" with Huffman, put into the table; here with 200.
    const filled = Buffer.concat([
      Buffer.from([0x88]),
      Buffer.from('5f8b1d75d0620d263d4c4d6564', 'hex'), // content-type: application/grpc, Huffman, inserted
      Buffer.from('5885aec3771a4b', 'hex'), // cache-control: private, Huffman, inserted
    ]);
    const repeated = Buffer.from([0x88, 0xbf, 0xbe]);
    const emptied = Buffer.concat([Buffer.from([0x20, 0x3f, 0xe1, 0x1f, 0x88]), filled.subarray(1)]);
    const answer = Buffer.concat([message.subarray(9)]);
    for (const [i, head] of [filled, repeated, repeated, emptied, repeated].entries()) {
      const id = 1 + 2 * i;
      const call = calling(client, path, hello);
      await server.request(id);
      server.send(rawFrame(1, endHeaders, id, head), rawFrame(0, 0, id, answer), trailersOf(id));
      expect(await call).toMatchObject({ status: 0, fault: undefined });
    }
  });

  it('a server without a table, and one that makes it smaller later, get headers they can read', async () => {
    await begin(settingsFrame([[1, 0]]));
    const head = client.head(path, [['x-shoal-caller', 'tenant']]);
    calling(client, head, hello).cancel();
    const first = await server.frame(({ type }) => type === 1);
    // Section 4.2 of RFC 7541: the change is acknowledged first of all, and then everything is said in full.
    expect(first.payload[0]).toBe(0x20);
    expect(first.payload.toString('latin1')).toContain('tenant');
    calling(client, head, hello).cancel();
    const second = await server.frame(({ type, streamId }) => type === 1 && streamId === 3);
    expect(second.payload).toEqual(first.payload.subarray(1));
  });

  it('requests repeat in a few bytes', async () => {
    await begin();
    const head = client.head(path, [['x-shoal-caller', 'tenant']]);
    for (let i = 0; i < 3; i++) calling(client, head, hello, 5000).cancel();
    const last = await server.frame(({ type, streamId }) => type === 1 && streamId === 5);
    expect(last.payload.length).toBeLessThan(40);
  });

  it('a request waits for the windows of stream and connection', async () => {
    await begin(settingsFrame([[4, 100]]));
    const call = calling(client, path, Buffer.alloc(9000, 1));
    await server.frame(({ type }) => type === 1);
    const got = (): number => server.frames.reduce((n, f) => (f.type === 0 ? n + f.payload.length : n), 0);
    await eventually(() => expect(got()).toBe(100));
    server.send(rawFrame(8, 0, 1, uint32(4000)));
    await eventually(() => expect(got()).toBe(4100));
    server.send(settingsFrame([[4, 20_000]]));
    await server.request(1);
    expect(got()).toBe(9005);
    server.send(answerOf(1, hello));
    expect((await call).status).toBe(0);
  });

  it('an answer that comes before the whole request was sent ends the sending', async () => {
    await begin(settingsFrame([[4, 100]]));
    const call = calling(client, path, Buffer.alloc(9000, 1));
    await server.frame(({ type }) => type === 0);
    server.send(answerOf(1, hello));
    expect((await call).body?.toString()).toBe('hello');
    expect(await server.rst(1)).toBe(ErrorCode.CANCEL);
    await eventually(() => expect(client.unsentBytes).toBe(0));
  });

  it('what comes late for a call that was given up moves nobody', async () => {
    await begin();
    const call = calling(client, path, hello);
    await server.request(1);
    call.cancel();
    expect(await server.rst(1)).toBe(ErrorCode.CANCEL);
    const next = calling(client, path, hello);
    await server.request(3);
    server.send(answerOf(1, hello), rawFrame(3, 0, 1, uint32(8)), rawFrame(8, 0, 1, uint32(8)));
    server.send(answerOf(3, Buffer.from('mine')));
    expect((await next).body?.toString()).toBe('mine');
  });

  it('GOAWAY: calls it names are answered, later ones fail, new ones are not sent, and the connection ends', async () => {
    await begin();
    const calls = [1, 2, 3].map(() => calling(client, path, hello));
    await server.request(5);
    server.send(rawFrame(7, 0, 0, Buffer.concat([uint32(0x7fffffff), uint32(0)])));
    await eventually(() => expect(client.failure?.fault).toBe('goaway'));
    server.send(rawFrame(7, 0, 0, Buffer.concat([uint32(3), uint32(0), Buffer.from('max age')])));
    expect(await calls[2]).toMatchObject({ status: 14, fault: 'goaway' });
    expect((await calls[2])?.message).toContain('max age');
    expect(await calling(client, path, hello)).toMatchObject({ status: 14, fault: 'goaway' });
    server.send(answerOf(3, hello), answerOf(1, hello));
    for (const { status } of await Promise.all(calls.slice(0, 2))) expect(status).toBe(0);
    await eventually(() => expect(server.isClosed).toBe(true));
  });

  it('PINGs are answered', async () => {
    await begin();
    server.send(rawFrame(6, 0, 0, Buffer.from('12345678')));
    const pong = await server.frame(({ type, flags }) => type === 6 && flags === 1);
    expect(pong.payload.toString()).toBe('12345678');
  });

  it('a server that has fallen silent with calls under way is asked, then left', async () => {
    await begin(undefined, { keepaliveMs: 100, keepaliveTimeoutMs: 100 });
    const call = calling(client, path, hello);
    await server.request(1);
    await server.frame(({ type, flags }) => type === 6 && flags === 0);
    expect(await call).toMatchObject({ status: 14, fault: 'silent' });
  });

  it('a server that takes nothing more holds up to a megabyte or so, and no request beyond its deadline', async () => {
    await begin(Buffer.concat([settingsFrame([[4, 0x7fffffff]]), rawFrame(8, 0, 0, uint32(0x7fff0000 - 65_535))]));
    server.stall();
    const large = Buffer.alloc(1024 * 1024);
    const calls = Array.from({ length: 24 }, () => calling(client, path, large, 300));
    expect(client.unsentBytes).toBeGreaterThan(10 * large.length);
    for (const call of calls) expect(await call).toMatchObject({ status: 4, fault: 'deadline' });
    expect(client.callCount).toBe(0);
    expect(client.unsentBytes).toBeLessThan(2 * large.length);
  });

  it('a connection that is cut ends its calls', async () => {
    await begin();
    const calls = [calling(client, path, hello), calling(client, path, hello, 5000)];
    await server.request(3);
    server.cut();
    for (const call of calls) expect(await call).toMatchObject({ status: 14, fault: 'lost' });
  });
});
