// Both ways in which the harness makes calls, on one real server.
import { type Metadata, Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { type CallerOptions, clientKinds, type InferCaller, inferPath } from '../../../bench/infer-caller.js';
import { openCaller } from '../../../bench/open-caller.js';
import { eventually } from '../../support/eventually.js';
import { asIs } from '../http2/unary-rig.js';

const infer = {
  path: inferPath,
  requestStream: false,
  responseStream: false,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
} as const;

/** Echoes; fails what says "fail"; keeps everybody's metadata and addresses. */
class Echo {
  readonly seen: Metadata[] = [];
  readonly peers = new Set<string>();
  #server = new Server();

  async start(port = 0): Promise<number> {
    this.#server = new Server();
    this.#server.addService(
      { infer },
      {
        infer: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
          this.seen.push(call.metadata);
          this.peers.add(call.getPeer());
          const trailers = call.metadata.clone();
          trailers.set('shoal-timing', 'rows=7');
          if (call.request.toString() === 'fail') reply({ code: 8, details: 'full', metadata: trailers });
          else if (call.request.toString() !== 'hold') reply(null, call.request, trailers);
        },
      },
    );
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (failure, bound) =>
        failure === null ? resolve(bound) : reject(failure),
      );
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

let caller: InferCaller | undefined;
const echo = new Echo();

afterEach(() => {
  caller?.close();
  echo.stop();
  echo.seen.length = 0;
  echo.peers.clear();
});

const send = (body: string, timeoutMs = Number.POSITIVE_INFINITY): Promise<readonly unknown[]> =>
  new Promise((resolve) => {
    caller?.send(Buffer.from(body), timeoutMs, (code, message, answer, timing) => {
      resolve([code, message, answer === undefined ? undefined : Buffer.from(answer).toString(), timing]);
    });
  });

describe.each(clientKinds)('%s', (client) => {
  const open = async (port: number, options: Partial<CallerOptions> = {}): Promise<void> => {
    const server = `127.0.0.1:${port}`;
    caller = await openCaller({ server, client, connections: 1, metadata: [], callers: [], seed: 1, ...options });
    await caller.connect(3000);
  };

  test('answers come with the receipt, failures with their code and words', async () => {
    await open(await echo.start());
    expect(await send('x')).toEqual(['', '', 'x', 'rows=7']);
    expect(await send('fail')).toEqual(['RESOURCE_EXHAUSTED', 'full', undefined, undefined]);
    expect((await send('hold', 30))[0]).toBe('DEADLINE_EXCEEDED');
  });

  test('metadata and drawn callers go with every request, over every connection', async () => {
    const callers = ['a', 'b', 'c'];
    await open(await echo.start(), { metadata: [['x-trace', 'yes']], callers, connections: 2 });
    for (let i = 0; i < 60; i++) await send('x');
    expect(echo.seen.every((metadata) => metadata.get('x-trace')[0] === 'yes')).toBe(true);
    const drawn = echo.seen.map((metadata) => metadata.get('x-shoal-caller')[0]);
    for (const name of callers) expect(drawn.filter((one) => one === name).length).toBeGreaterThan(8);
    expect(echo.peers.size).toBe(2);
  });

  test('a server that comes back is found again; until then calls fail', async () => {
    const port = await echo.start();
    await open(port);
    echo.stop();
    await eventually(async () => expect((await send('x', 500))[0]).toBe('UNAVAILABLE'));
    await echo.start(port);
    await eventually(async () => expect((await send('x', 500))[0]).toBe(''));
  });

  test('nobody there is NO_WORKER', async () => {
    await expect(open(1)).rejects.toMatchObject({ code: 'NO_WORKER' });
  });
});
