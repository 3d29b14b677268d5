// Any headers that node's own HTTP/2 client can send arrive as they were: its HPACK encoder against our decoder.
import { type ClientHttp2Session, connect } from 'node:http2';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually } from '../../support/eventually.js';
import { grpcMessage } from './raw-peer.js';
import { paths, UnaryRig } from './unary-rig.js';

let rig: UnaryRig;
let session: ClientHttp2Session;

beforeAll(async () => {
  rig = await UnaryRig.start({ limits: { maxHeaderListBytes: 60_000 } });
  session = connect(`http://127.0.0.1:${rig.port}`);
});

afterAll(async () => {
  session.destroy();
  await rig.stop();
});

const reserved =
  /^(te|host|connection|upgrade|keep-alive|cookie|content-.*|grpc-.*|http2-settings|transfer-encoding|proxy-.*)$/;
const nameOf = fc.stringMatching(/^[a-z][a-z0-9-]{0,30}$/).filter((name) => !reserved.test(name));
/** All bytes that may stand in a header's value; not at its ends, where some are trimmed. */
const textOf = fc.oneof(
  fc.stringMatching(/^[!-~]{0,60}$/),
  fc.stringMatching(/^[!-~][ -~]{0,3000}[!-~]$/),
  fc.stringMatching(/^[!-~\u0080-\u00ff]{1,100}$/),
);

it('headers, repeated and new, through every table and coding', async () => {
  await fc.assert(
    fc.asyncProperty(fc.dictionary(nameOf, textOf, { maxKeys: 15 }), async (fields) => {
      const from = rig.held.length;
      // Twice: the second time most of them come from the dynamic table.
      for (let time = 0; time < 2; time++) {
        const stream = session.request({
          ...fields,
          ':path': paths.hold,
          ':method': 'POST',
          'content-type': 'application/grpc',
          te: 'trailers',
        });
        stream.end(grpcMessage(Buffer.from('x')));
        const held = await eventually(() => rig.held[from + time] ?? expect.fail('the call has not come'));
        for (const [name, value] of Object.entries(fields)) expect(held.call.header(name)).toBe(value);
        held.reply.answer({ body: [Buffer.from('y')], trailers: [['seen', String(Object.keys(fields).length)]] });
        const [headers, trailers] = await new Promise<[unknown, unknown]>((resolve) => {
          let first: unknown;
          stream.on('response', (response) => {
            first = { ...response };
          });
          stream.on('trailers', (last) => resolve([first, { ...last }]));
          stream.resume();
        });
        expect(headers).toMatchObject({ ':status': 200, 'content-type': 'application/grpc' });
        expect(trailers).toMatchObject({ 'grpc-status': '0', seen: String(Object.keys(fields).length) });
      }
    }),
    { numRuns: 150 },
  );
});
