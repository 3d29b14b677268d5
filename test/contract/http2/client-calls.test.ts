// The client's contract, on each server it must work with: ours, and one whose HTTP/2 is another's (nghttp2: Huffman,
// a dynamic table, its own ideas of windows).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GrpcUnaryClient } from '../../../platform/http2/grpc-unary-client.js';
import { headerValue } from '../../../platform/http2/request-head.js';
import { eventually } from '../../support/eventually.js';
import { calling, connected, type RunningServer, serverKinds } from './client-rig.js';
import { paths, pattern, sizedRequest } from './unary-rig.js';

describe.each(serverKinds)('$name', (kind) => {
  let server: RunningServer;
  let client: GrpcUnaryClient;

  beforeEach(async () => {
    server = await kind.start();
    client = await connected(server.port);
  });

  afterEach(async () => {
    client.close();
    await server.stop();
  });

  it('an answer comes with its trailers', async () => {
    const outcome = await calling(client, paths.echo, Buffer.from('hello'));
    expect(outcome).toMatchObject({ status: 0, fault: undefined });
    expect(outcome.body?.toString()).toBe('hello');
    expect(headerValue(outcome.trailers, 'shoal-timing')).toBe('queue=1');
  });

  it('an empty message is a message, both ways', async () => {
    const outcome = await calling(client, paths.echo, Buffer.alloc(0));
    expect(outcome.status).toBe(0);
    expect(outcome.body).toHaveLength(0);
  });

  it('metadata reach the server, with every call and beside others', async () => {
    const plain = client.head(paths.echo);
    const named = client.head(paths.echo, [['x-shoal-caller', 'tenant-1']]);
    const other = client.head(paths.echo, [['x-shoal-caller', 'tenant-2']]);
    const seen: unknown[] = [];
    for (const head of [plain, named, named, other, plain, named, other]) {
      const { status } = await calling(client, head, Buffer.from('x'), 60_000);
      seen.push([status, server.seenHeader('x-shoal-caller')]);
    }
    const expected = [undefined, 'tenant-1', 'tenant-1', 'tenant-2', undefined, 'tenant-1', 'tenant-2'];
    expect(seen).toEqual(expected.map((caller) => [0, caller]));
  });

  it('headers too many for the dynamic table still arrive', async () => {
    const values = Array.from({ length: 60 }, (_, i) => `${i}`.repeat(30));
    for (let turn = 0; turn < 2; turn++) {
      for (const value of values) {
        const { status } = await calling(client, client.head(paths.echo, [['x-number', value]]), Buffer.from('x'));
        expect([status, server.seenHeader('x-number')]).toEqual([0, value]);
      }
    }
  });

  it('a failure comes with its sentence and its details', async () => {
    const outcome = await calling(client, paths.fail, Buffer.from('x'));
    expect(outcome).toMatchObject({ status: 3, body: undefined, fault: undefined });
    expect(outcome.message).toBe('Eingabe "ξ" hat 100 % zu viel\nZeilen');
    expect(headerValue(outcome.trailers, 'shoal-error')).toBe('INVALID_REQUEST');
    const details = headerValue(outcome.trailers, 'grpc-status-details-bin') ?? '';
    expect(Buffer.from(details, 'base64')).toEqual(Buffer.from([0, 1, 2, 255]));
  });

  it('a method that nobody has is UNIMPLEMENTED', async () => {
    expect(await calling(client, '/test.Unary/Nobody', Buffer.from('x'))).toMatchObject({ status: 12 });
  });

  it('a thousand calls at once, each with its own answer', async () => {
    const sizes = Array.from({ length: 1000 }, (_, i) => (i * 7919) % 40_000);
    const outcomes = await Promise.all(sizes.map((bytes, i) => calling(client, paths.sized, sizedRequest(bytes, i))));
    outcomes.forEach(({ status, body }, i) => {
      expect(status).toBe(0);
      expect(body?.equals(pattern(sizes[i] ?? 0, i))).toBe(true);
    });
    expect(client.callCount).toBe(0);
  });

  it('messages larger than every window pass both ways', async () => {
    const large = pattern(20 * 1024 * 1024, 5);
    const [there, back] = await Promise.all([
      calling(client, paths.echo, large),
      calling(client, paths.sized, sizedRequest(20 * 1024 * 1024, 6)),
    ]);
    expect(there.body?.equals(large)).toBe(true);
    expect(back.body?.equals(pattern(20 * 1024 * 1024, 6))).toBe(true);
    await eventually(() => expect(client.unsentBytes).toBe(0));
  });

  it('a deadline ends the call here and at the server, and no other', async () => {
    const held = [calling(client, paths.hold, Buffer.from('x'), 60), calling(client, paths.hold, Buffer.from('y'), 30)];
    const patient = calling(client, paths.hold, Buffer.from('z'), 60_000);
    for (const call of held) expect(await call).toMatchObject({ status: 4, fault: 'deadline' });
    await eventually(() => expect(server.heldCalls()).toBe(1));
    expect((await calling(client, paths.echo, Buffer.from('still there'), 5000)).status).toBe(0);
    patient.cancel();
    expect(await patient).toMatchObject({ status: 1, fault: 'cancelled' });
    await eventually(() => expect(server.heldCalls()).toBe(0));
  });

  it('a deadline that has passed already sends nothing', async () => {
    const outcome = await calling(client, paths.echo, Buffer.from('x'), 0);
    expect(outcome).toMatchObject({ status: 4, fault: 'deadline' });
    expect(server.seenHeader('te')).toBeUndefined();
  });

  it('an answer larger than allowed ends its call only', async () => {
    const small = await connected(server.port, { maxMessageBytes: 1000 });
    const outcome = await calling(small, paths.sized, sizedRequest(100_000, 1));
    expect(outcome).toMatchObject({ status: 8, fault: 'too-large' });
    expect(outcome.message).toBe('The answer has 100000 bytes; at most 1000 are accepted.');
    expect((await calling(small, paths.sized, sizedRequest(1000, 1))).status).toBe(0);
    small.close();
  });

  it('a server that goes away leaves no call open', async () => {
    const calls = Array.from({ length: 20 }, () => calling(client, paths.hold, Buffer.from('x')));
    await eventually(() => expect(server.heldCalls()).toBe(20));
    await server.stop();
    for (const { status, body } of await Promise.all(calls)) {
      expect(status).not.toBe(0);
      expect(body).toBeUndefined();
    }
    await eventually(() => expect(client.failure?.status).toBe(14));
    expect(await calling(client, paths.echo, Buffer.from('x'))).toMatchObject({ status: 14 });
  });

  it('closing ends what is under way, at once', async () => {
    const call = calling(client, paths.hold, Buffer.from('x'));
    client.close();
    expect(await call).toMatchObject({ status: 1, fault: 'cancelled' });
    expect(await calling(client, paths.echo, Buffer.from('x'))).toMatchObject({ status: 1, fault: 'cancelled' });
  });
});

describe.each(serverKinds)('$name, with two streams at a time', (kind) => {
  it('calls wait for their turn, and those who have waited too long do not disturb the others', async () => {
    const server = await kind.start(2);
    const client = await connected(server.port, { maxCalls: 60 });
    const blocked = [1, 2].map(() => calling(client, paths.hold, Buffer.from('x'), 300));
    await eventually(() => expect(server.heldCalls()).toBe(2));
    const impatient = calling(client, paths.echo, Buffer.from('x'), 20);
    const waiting = Array.from({ length: 57 }, (_, i) => calling(client, paths.sized, sizedRequest(i, i)));
    expect(client.callCount).toBe(60);
    expect(await calling(client, paths.echo, Buffer.from('x'))).toMatchObject({ status: 8, fault: 'busy' });
    expect(await impatient).toMatchObject({ fault: 'deadline' });
    for (const call of blocked) expect(await call).toMatchObject({ fault: 'deadline' });
    for (const { status } of await Promise.all(waiting)) expect(status).toBe(0);
    client.close();
    await server.stop();
  });
});

it('nobody listening, and no address, are said at once', async () => {
  await expect(connected(1)).rejects.toMatchObject({ name: 'ConnectFailure', fault: 'lost' });
  await expect(connected(1, { address: 'http://localhost:1' })).rejects.toThrow(/not an address/);
});
