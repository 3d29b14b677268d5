// RFC 9113, spoken byte by byte: what is answered, what ends a stream, what ends the connection.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
import { paths, UnaryRig } from './unary-rig.js';

let rig: UnaryRig;
let peer: RawPeer;

beforeEach(async () => {
  rig = await UnaryRig.start();
  peer = await RawPeer.greeted(rig.port);
});

afterEach(async () => {
  peer.close();
  await rig.stop();
});

const hello = Buffer.from('hello');
/** The prefix and the message. */
const helloBody = grpcMessage(hello);

async function echoes(other: RawPeer, streamId: number): Promise<void> {
  other.send(grpcRequest(streamId, paths.echo, hello));
  expect(await other.body(streamId)).toEqual(helloBody);
  expect(await other.trailers(streamId)).toContain('grpc-status');
}

describe('the beginning', () => {
  it('announces its limits and acknowledges those of the client', async () => {
    const settings = await peer.frame(({ type, flags }) => type === 4 && flags === 0);
    expect(settings.payload.toString('hex')).toBe('000300004000' + '000400800000' + '000600004000');
    expect((await peer.frame(({ type }) => type === 8)).payload.readUInt32BE(0)).toBe(32 * 1024 * 1024 - 65_535);
    await echoes(peer, 1);
  });

  it('takes the preface and everything after it byte by byte', async () => {
    const slow = await RawPeer.connect(rig.port);
    slow.socket.setNoDelay(true);
    const bytes = Buffer.concat([preface, settingsFrame(), grpcRequest(1, paths.echo, hello)]);
    for (const byte of bytes) slow.socket.write(Buffer.from([byte]));
    expect(await slow.body(1)).toEqual(helloBody);
    slow.close();
  });

  it('tells a client of HTTP/1 so', async () => {
    const stranger = await RawPeer.connect(rig.port);
    stranger.send(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
    await stranger.closed();
    expect(stranger.text).toMatch(/^HTTP\/1\.1 505 .*This port speaks gRPC over HTTP\/2\.\n$/s);
  });

  it.each([
    ['other bytes', Buffer.from([0x16, 3, 1, 2, 0, 1]), 1],
    ['a preface that goes wrong at its end', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\rX'), 1],
    ['another frame before SETTINGS', Buffer.concat([preface, rawFrame(6, 0, 0, Buffer.alloc(8))]), 1],
    ['an acknowledgement before SETTINGS', Buffer.concat([preface, rawFrame(4, 1, 0)]), 1],
  ])('ends at %s', async (_what, bytes, code) => {
    const stranger = await RawPeer.connect(rig.port);
    stranger.send(bytes);
    expect((await stranger.goaway()).code).toBe(code);
    await stranger.closed();
  });
});

describe('a connection ends', () => {
  const setting = (id: number, value: number) => settingsFrame([[id, value]]);
  it.each([
    ['SETTINGS on a stream', rawFrame(4, 0, 1), 1],
    ['SETTINGS of five bytes', rawFrame(4, 0, 0, Buffer.alloc(5)), 6],
    ['an acknowledgement with a payload', rawFrame(4, 1, 0, Buffer.alloc(6)), 6],
    ['ENABLE_PUSH of 2', setting(2, 2), 1],
    ['an initial window over 2^31-1', setting(4, 2 ** 31), 3],
    ['a frame size below the least', setting(5, 16_383), 1],
    ['a frame size above the most', setting(5, 2 ** 24), 1],
    ['a PING on a stream', rawFrame(6, 0, 1, Buffer.alloc(8)), 1],
    ['a PING of seven bytes', rawFrame(6, 0, 0, Buffer.alloc(7)), 6],
    ['a WINDOW_UPDATE of nothing', rawFrame(8, 0, 0, uint32(0)), 1],
    ['a WINDOW_UPDATE of three bytes', rawFrame(8, 0, 0, Buffer.alloc(3)), 6],
    ['a WINDOW_UPDATE for a stream never opened', rawFrame(8, 0, 7, uint32(1)), 1],
    ['a connection window over 2^31-1', rawFrame(8, 0, 0, uint32(2 ** 31 - 1)), 3],
    ['an RST_STREAM for a stream never opened', rawFrame(3, 0, 7, uint32(8)), 1],
    ['an RST_STREAM of five bytes', rawFrame(3, 0, 1, Buffer.alloc(5)), 6],
    ['DATA on stream 0', rawFrame(0, 0, 0, Buffer.alloc(1)), 1],
    ['DATA for a stream never opened', rawFrame(0, 0, 7, Buffer.alloc(1)), 1],
    ['DATA with more padding than payload', rawFrame(0, 8, 1, Buffer.from([5, 0])), 1],
    ['HEADERS on stream 0', headersFrame(0, grpcHeaders(paths.echo)), 1],
    ['HEADERS on an even stream', headersFrame(2, grpcHeaders(paths.echo)), 1],
    ['HEADERS shorter than its padding', rawFrame(1, 4 | 8, 1, Buffer.from([5, 0x82])), 1],
    ['HEADERS shorter than its priority', rawFrame(1, 4 | 0x20, 1, Buffer.from([0, 0])), 1],
    ['a header block that is no HPACK', rawFrame(1, 4, 1, Buffer.from([0x80])), 9],
    ['CONTINUATION without HEADERS', rawFrame(9, 4, 1, Buffer.from([0x82])), 1],
    ['PRIORITY on stream 0', rawFrame(2, 0, 0, Buffer.alloc(5)), 1],
    ['PUSH_PROMISE', rawFrame(5, 4, 1, Buffer.alloc(4)), 1],
    ['GOAWAY on a stream', rawFrame(7, 0, 1, Buffer.alloc(8)), 1],
    ['GOAWAY of four bytes', rawFrame(7, 0, 0, Buffer.alloc(4)), 6],
    ['a frame larger than allowed', rawFrame(0, 0, 1, Buffer.alloc(16_385)), 6],
    [
      'a header block interrupted by another frame',
      Buffer.concat([headersFrame(1, grpcHeaders(paths.echo), 0), rawFrame(6, 0, 0, Buffer.alloc(8))]),
      1,
    ],
    [
      'a header block continued on another stream',
      Buffer.concat([headersFrame(1, grpcHeaders(paths.echo), 0), rawFrame(9, 4, 3)]),
      1,
    ],
    [
      'HEADERS for a stream that is over',
      Buffer.concat([grpcRequest(1, paths.echo, hello), headersFrame(1, grpcHeaders(paths.echo), 5)]),
      5,
    ],
    [
      'stream numbers that go down',
      Buffer.concat([grpcRequest(5, paths.echo, hello), headersFrame(3, grpcHeaders(paths.echo))]),
      5,
    ],
  ])('at %s', async (_what, bytes, code) => {
    const beside = await RawPeer.greeted(rig.port);
    peer.send(bytes);
    const goaway = await peer.goaway();
    expect(goaway.code).toBe(code);
    expect(goaway.reason).not.toBe('');
    await peer.closed();
    expect(rig.protocolErrors.some((reason) => reason.startsWith(goaway.reason))).toBe(true);
    await echoes(beside, 1);
    beside.close();
  });

  it('at an initial window that makes an open stream overflow', async () => {
    peer.send(headersFrame(1, grpcHeaders(paths.hold)), rawFrame(8, 0, 1, uint32(2 ** 31 - 1 - 65_535)));
    peer.send(settingsFrame([[4, 65_536]]));
    expect((await peer.goaway()).code).toBe(3);
  });

  it('and takes its calls along', async () => {
    peer.send(grpcRequest(1, paths.hold, hello));
    const held = await eventually(() => rig.held[0] ?? expect.fail('the call has not come'));
    peer.send(rawFrame(6, 0, 0, Buffer.alloc(7)));
    await peer.closed();
    expect(held.cancelled).toBe(1);
    await eventually(() => expect(rig.server.connectionCount).toBe(0));
  });
});

describe('a stream ends, and the connection serves on', () => {
  const without = (name: string) => grpcHeaders(paths.echo).filter(([field]) => field !== name);
  const withField = (name: string, value: string) => [...grpcHeaders(paths.echo), [name, value] as [string, string]];
  it.each([
    ['no :method', headersFrame(1, without(':method')), 1],
    ['no :path', headersFrame(1, without(':path')), 1],
    ['no :scheme', headersFrame(1, without(':scheme')), 1],
    ['two paths', headersFrame(1, [[':path', '/'], ...grpcHeaders(paths.echo)]), 1],
    ['a pseudo-header after the others', headersFrame(1, [...without(':path'), [':path', paths.echo]]), 1],
    ['an upper-case name', headersFrame(1, withField('Name', 'x')), 1],
    ['a connection header', headersFrame(1, withField('connection', 'close')), 1],
    ['te: gzip', headersFrame(1, withField('te', 'gzip')), 1],
    ['an unknown pseudo-header', headersFrame(1, [[':protocol', 'x'], ...grpcHeaders(paths.echo)]), 1],
    ['no request at all', headersFrame(1, [['a', 'b']], 5), 1],
    ['content-length that no number is', headersFrame(1, withField('content-length', '1x')), 1],
    ['content-length that lies low', contentLength(4, helloBody), 1],
    ['content-length that lies high', contentLength(100, helloBody), 1],
    ['a window that grows by nothing', Buffer.concat([opened(), rawFrame(8, 0, 1, uint32(0))]), 1],
    ['a window over 2^31-1', Buffer.concat([opened(), rawFrame(8, 0, 1, uint32(2 ** 31 - 1))]), 3],
    ['HEADERS within the request that do not end it', Buffer.concat([opened(), headersFrame(1, [['a', 'b']])]), 1],
    ['a second request on it', Buffer.concat([opened(), headersFrame(1, grpcHeaders(paths.echo), 5)]), 1],
    ['DATA after its end', Buffer.concat([held(), rawFrame(0, 0, 1, Buffer.alloc(1))]), 5],
    ['trailers after its end', Buffer.concat([held(), headersFrame(1, [['a', 'b']], 5)]), 5],
  ])('at %s', async (what, bytes, code) => {
    peer.send(bytes);
    expect(await peer.rst(1)).toBe(code);
    // What was on its way is no fault.
    if (what !== 'DATA after its end') peer.send(rawFrame(0, endStream, 1, Buffer.alloc(10)));
    await echoes(peer, 3);
    expect(rig.server.streamCount).toBe(0);
  });

  function contentLength(length: number, body: Buffer): Buffer {
    const fields = [...grpcHeaders(paths.echo), ['content-length', String(length)] as [string, string]];
    return Buffer.concat([headersFrame(1, fields), rawFrame(0, endStream, 1, body)]);
  }

  function opened(): Buffer {
    return headersFrame(1, grpcHeaders(paths.echo));
  }

  function held(): Buffer {
    return grpcRequest(1, paths.hold, hello);
  }

  it('DATA for a stream that is over is told so', async () => {
    await echoes(peer, 1);
    peer.send(rawFrame(0, 0, 1, Buffer.alloc(3)));
    expect(await peer.rst(1)).toBe(5);
    await echoes(peer, 3);
  });
});

describe('a request arrives', () => {
  it.each([
    ['padded', [rawFrame(0, 8 | endStream, 1, Buffer.concat([Buffer.from([9]), helloBody, Buffer.alloc(9)]))]],
    ['in single bytes', [...helloBody].map((byte, i) => rawFrame(0, i === 9 ? endStream : 0, 1, Buffer.from([byte])))],
    ['with an empty frame at its end', [rawFrame(0, 0, 1, helloBody), rawFrame(0, endStream, 1)]],
    ['with trailers at its end', [rawFrame(0, 0, 1, helloBody), headersFrame(1, [['x', 'y']], endHeaders | endStream)]],
  ])('%s', async (_how, frames) => {
    peer.send(headersFrame(1, grpcHeaders(paths.echo)), ...frames);
    expect(await peer.body(1)).toEqual(helloBody);
  });

  it('with headers padded, prioritised and in three frames', async () => {
    const block = headersFrame(1, grpcHeaders(paths.echo)).subarray(9);
    peer.send(
      rawFrame(
        1,
        8 | 0x20,
        1,
        Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 16]), block.subarray(0, 10), Buffer.alloc(3)]),
      ),
      rawFrame(9, 0, 1, block.subarray(10, 20)),
      rawFrame(9, endHeaders, 1, block.subarray(20)),
      rawFrame(0, endStream, 1, helloBody),
    );
    expect(await peer.body(1)).toEqual(helloBody);
  });

  it('among frames that mean nothing here', async () => {
    peer.send(
      rawFrame(2, 0, 5, Buffer.from([0, 0, 0, 0, 16])),
      rawFrame(0xbe, 0xff, 9, Buffer.from('unknown')),
      settingsFrame([[0x99, 5]]),
    );
    await echoes(peer, 1);
  });

  it('of any other kind than gRPC, and is told so in HTTP', async () => {
    const [method, scheme, path, authority] = grpcHeaders(paths.echo);
    if (!method || !scheme || !path || !authority) throw new Error('four pseudo-headers');
    peer.send(headersFrame(1, [method, scheme, path, ['content-type', 'application/json']]));
    expect(await peer.trailers(1)).toMatch(
      /415.*content-type must be application\/grpc, and there was "application\/json"/s,
    );
    expect(await peer.rst(1)).toBe(0);
    peer.send(headersFrame(3, [method, scheme, path], endHeaders | endStream));
    expect(await peer.trailers(3)).toContain('415');
    peer.send(headersFrame(5, [[':method', 'PUT'], scheme, path, ['content-type', 'application/grpc']]));
    expect(await peer.trailers(5)).toMatch(/405.*POST/s);
    await echoes(peer, 7);
  });

  it.each([
    ['no message', rawFrame(0, endStream, 1), '12', 'none came'],
    ['two messages', rawFrame(0, endStream, 1, Buffer.concat([helloBody, helloBody])), '12', 'second one'],
    ['a message cut off', rawFrame(0, endStream, 1, helloBody.subarray(0, 8)), '13', 'middle of its message'],
    ['a prefix cut off', rawFrame(0, endStream, 1, helloBody.subarray(0, 3)), '13', 'middle of its message'],
    ['a compressed message and no encoding', rawFrame(0, endStream, 1, compressed(hello)), '13', 'no grpc-encoding'],
  ])('with %s', async (_what, data, status, sentence) => {
    peer.send(headersFrame(1, grpcHeaders(paths.echo)), data);
    const trailers = await peer.trailers(1);
    expect(trailers).toContain(`grpc-status${String.fromCharCode(status.length)}${status}`);
    expect(trailers).toContain(sentence);
    await echoes(peer, 3);
  });

  it('with two messages in two frames', async () => {
    peer.send(headersFrame(1, grpcHeaders(paths.echo)), rawFrame(0, 0, 1, helloBody), rawFrame(0, 0, 1, helloBody));
    expect(await peer.trailers(1)).toContain('second one');
    expect(await peer.rst(1)).toBe(0);
    await echoes(peer, 3);
  });

  it.each([
    ['snappy', '12', 'identity,gzip,deflate'],
    ['gzip', '13', 'cannot be decompressed as gzip'],
  ])('with a message compressed with %s that is not readable', async (encoding, status, sentence) => {
    peer.send(
      headersFrame(1, [...grpcHeaders(paths.echo), ['grpc-encoding', encoding]]),
      rawFrame(0, endStream, 1, compressed(hello)),
    );
    const trailers = await peer.trailers(1);
    expect(trailers).toContain(`grpc-status${String.fromCharCode(2)}${status}`);
    expect(trailers).toContain(sentence);
  });

  it('with a grpc-timeout that is none', async () => {
    peer.send(headersFrame(1, [...grpcHeaders(paths.echo), ['grpc-timeout', '5 minutes']], endHeaders | endStream));
    expect(await peer.trailers(1)).toContain('The grpc-timeout "5 minutes" is not');
  });

  function compressed(message: Buffer): Buffer {
    const bytes = grpcMessage(message);
    bytes[0] = 1;
    return bytes;
  }
});

it('a reset stream leaves nothing behind, and a PING is answered with its own bytes', async () => {
  peer.send(grpcRequest(1, paths.hold, hello), headersFrame(3, grpcHeaders(paths.echo)));
  peer.send(rawFrame(0, 0, 3, Buffer.from([0, 0, 16, 0, 0, 1, 2, 3])));
  const held = await eventually(() => rig.held[0] ?? expect.fail('the call has not come'));
  expect(rig.server.streamCount).toBe(2);
  peer.send(rawFrame(3, 0, 1, uint32(8)), rawFrame(3, 0, 3, uint32(8)));
  await peer.ping('12345678');
  expect(held.cancelled).toBe(1);
  expect(rig.server.streamCount).toBe(0);
  held.reply.answer({ body: [hello] });
  await peer.ping('abcdefgh');
  expect(peer.frames.filter(({ streamId }) => streamId !== 0)).toEqual([]);
});
