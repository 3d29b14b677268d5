// A server that does nothing, for measuring what a gRPC call costs by itself. Run pinned to one core, with a load
// generator on another: `npm run build && taskset -c 0 node dist/bench/micro/http2-server.js [lean|grpc-js] [PORT] [ANSWER_BYTES]`
// and `taskset -c 1 node dist/bench/micro/http2-client.js http2 PORT`, for one.
import { Server, ServerCredentials, type sendUnaryData } from '@grpc/grpc-js';
import { serverOptions } from '../../platform/grpc-options.js';
import { openGrpcFallback } from '../../platform/http2/grpc-fallback.js';
import { GrpcUnaryServer } from '../../platform/http2/grpc-unary-server.js';

const [kind = 'lean', port = '18001', answerBytes = '4060'] = process.argv.slice(2);
const path = '/inference.GRPCInferenceService/ModelInfer';
const answer = Buffer.alloc(Number(answerBytes));
const asIs = (bytes: Buffer): Buffer => bytes;

const grpc = new Server({ ...serverOptions(), 'grpc.enable_channelz': 0 });
const infer = {
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
} as const;

let waiting: (() => void)[] = [];

/** Answers come together and in a later turn, as they do from an executor. */
function answerLater(reply: () => void): void {
  if (waiting.length === 0) {
    setImmediate(() => {
      const due = waiting;
      waiting = [];
      for (const one of due) one();
    });
  }
  waiting.push(reply);
}

if (kind === 'grpc-js') {
  grpc.addService(
    { infer },
    {
      infer: (_call: unknown, reply: sendUnaryData<Buffer>) => answerLater(() => reply(null, answer)),
    },
  );
  grpc.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (failure) => {
    if (failure !== null) throw failure;
  });
} else {
  const fallback = await openGrpcFallback(grpc);
  const body = [answer];
  const server = new GrpcUnaryServer({
    methods: new Map([
      [
        path,
        (_call, reply) => {
          answerLater(() => reply.answer({ body }));
          return undefined;
        },
      ],
    ]),
    fallback: fallback.connect,
    maxMessageBytes: 256 * 1024 * 1024,
    onProtocolError: (peer, reason) => process.stderr.write(`${peer}: ${reason}\n`),
  });
  await server.listen(Number(port), '127.0.0.1');
}
process.stdout.write(`${kind} at 127.0.0.1:${port}, process ${process.pid}\n`);
process.once('SIGINT', () => process.exit(0));
