// A closed loop of unary calls to bench/micro/http2-server.ts, for measuring what a call costs its caller. Run pinned
// to one core, with the server on another:
// `npm run build && taskset -c 1 node dist/bench/micro/http2-client.js [http2|grpc-js] [PORT] [REQUEST_BYTES] [CALLERS] [SECONDS]`.
import { systemClock } from '../../core/clock.js';
import { clientKinds } from '../infer-caller.js';
import { openCaller } from '../open-caller.js';
import { oneOf } from '../options.js';

const [client = 'http2', port = '18001', requestBytes = '12350', callers = '64', seconds = '5'] = process.argv.slice(2);
const message = Buffer.alloc(Number(requestBytes));
const caller = await openCaller({
  server: `127.0.0.1:${port}`,
  client: oneOf('client', client, clientKinds),
  connections: 1,
  metadata: [],
  callers: [],
  seed: 1,
});
await caller.connect(3000);

// grpc-js makes an Error object for every call, just in case; its stack is never looked at here.
Error.stackTraceLimit = 0;
let answers = 0;
let failures = 0;
let isOver = false;

function send(): void {
  caller.send(message, Number.POSITIVE_INFINITY, (code) => {
    if (code === '') answers++;
    else failures++;
    if (!isOver) send();
  });
}

for (let i = 0; i < Number(callers); i++) send();
await new Promise((resolve) => setTimeout(resolve, 1000));
answers = 0;
const started = process.cpuUsage();
const startedMs = systemClock.nowMs();
await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000));
const { user, system } = process.cpuUsage(started);
const elapsedS = (systemClock.nowMs() - startedMs) / 1000;
isOver = true;
process.stdout.write(
  `${client}: ${(answers / elapsedS).toFixed(0)} calls/s, ${((user + system) / answers).toFixed(1)} µs of CPU a call, ` +
    `${failures} failed\n`,
);
process.exit(0);
