import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { ShoalError } from '../core/errors.js';
import { packageRoot } from '../platform/package-root.js';
import { type CommandOptions, compilePlan } from './compile-plan.js';
import { withNullServer } from './null-fleet.js';
import { oneOf } from './options.js';
import { showProgress } from './progress-bar.js';
import { type BenchReport, reportText } from './report.js';
import { runSession, type SessionPlan } from './session.js';

/** Exit code of a measurement that was made and must not be believed. */
const exitInvalid = 3;

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const notes = `
Exit code: 0 when every point is VALID, ${exitInvalid} when one is not.

Examples:
  shoal bench mnist --concurrency 1,8,64
  shoal bench mnist --rate 500,1000 --deadline-ms 100
  shoal bench mnist --concurrency 64 --cpus 1 --ceiling --ceiling-cpus 0
  shoal bench big --concurrency 64 --batch 4 --processes 2 --cpu-of server=1234+ --save big.json
  shoal bench seq --concurrency 64 --shape x:1x4x256/1x5x256
  shoal bench big --group victim,rate=100,callers=9 --group flood,rate=2000 --deadline-ms 100
  shoal bench --null --concurrency 1,64`;

/** Adds `shoal bench` to the command line. A failure rejects the action with a `ShoalError` for the program to print. */
export function registerBench(program: Command): void {
  program
    .command('bench')
    .description(
      'measure any Open Inference Protocol server over gRPC: throughput, latency, share of bare ONNX Runtime',
    )
    .argument('[model]', 'name of the model; not needed with --null')
    .option('--server <address>', 'host:port of the gRPC server', '127.0.0.1:8001')
    .option('--model-version <version>', 'version of the model; left out, the server chooses', '')
    .option('--concurrency <list>', 'closed loop: requests kept in flight, one point for each number (default: 1)')
    .option('--rate <list>', 'open loop: Poisson arrivals per second; latency counts from when a request was due')
    .option(
      '--group <name,…>',
      'several loads at once, each counted for itself: NAME,rate=100 or NAME,concurrency=8, then deadline-ms=50, ' +
        'caller=WHO, callers=9 (as many identities); repeatable',
      collect,
      [],
    )
    .option('--duration <time>', 'length of the measured window', '10s')
    .option('--warmup <time>', 'load before the window', '2s')
    .option('--drain <time>', 'longest wait for answers after the window', '10s')
    .option('--deadline-ms <ms>', 'gRPC deadline of each request; goodput is what is answered within it')
    .option('--max-inflight <n>', 'open loop: arrivals above this many in flight wait, and their wait counts', '20000')
    .option('--pacing <how>', 'open loop: spin (exact, keeps its core busy) or timer (1 ms coarse)', 'spin')
    .option('--input <name:file>', 'rows from a .npy file instead of random ones; repeatable', collect, [])
    .option(
      '--shape <name:dims>',
      'shape of an input with free dimensions, as in x:1x3x224, or several used in turn, as in x:1x64/1x128; repeatable',
      collect,
      [],
    )
    .option('--batch <rows>', 'rows per request (default: 1)')
    .option('--payloads <n>', 'different requests of each shape, used in turn', '8')
    .option('--processes <n>', 'load processes', '1')
    .option('--client <kind>', 'who makes the calls: http2 (lean) or grpc-js', 'http2')
    .option('--connections <n>', 'connections of each load process, used in turn', '1')
    .option('--caller <name>', 'identity sent as x-shoal-caller; repeated, one is drawn for each request', collect, [])
    .option('--metadata <name=value>', 'header sent with every request; repeatable', collect, [])
    .option('--cpus <list>', 'pin the load processes to these cores (taskset)', '')
    .option('--seed <n>', 'seed of arrivals and random inputs', '1')
    .option('--runs <n>', 'repetitions; medians and ranges are reported', '3')
    .option('--cpu-of <name=pid>', 'report CPU of name=PID[,PID]…; PID+ takes in its children; repeatable', collect, [])
    .option('--verify', 'check every answer against the one to the same request sent alone', false)
    .option('--ceiling [file]', 'also run the bare ONNX Runtime loop; without a file, the model is sought in --models')
    .option('--models <folder>', 'model repository for --ceiling', join(packageRoot, 'examples', 'models'))
    .option('--max-batch <n>', 'largest batch size of the ceiling', '64')
    .option('--ceiling-threads <n>', 'intra-op threads of the ceiling', '1')
    .option('--ceiling-duration <time>', 'window of the ceiling at each batch size', '1s')
    .option('--ceiling-providers <list>', 'execution providers of the ceiling', 'cpu')
    .option('--ceiling-cpus <list>', 'pin the ceiling to these cores (taskset)', '')
    .option('--null', 'measure the harness itself against a server that does nothing', false)
    .option('--output <format>', 'table or json', 'table')
    .option('--save <file>', 'also write the JSON report to a file')
    .addHelpText('after', notes)
    .action(async (model: string | undefined, options: CommandOptions) => {
      const output = oneOf('--output', options.output, ['table', 'json']);
      const plan = compilePlan(model, options);
      const report = options.null
        ? await withNullServer('', (server) => measure({ ...plan, target: { server, model: 'null', version: '' } }))
        : await measure(plan);
      const json = `${JSON.stringify(report, undefined, 2)}\n`;
      if (options.save !== undefined) save(options.save, json);
      process.stdout.write(output === 'json' ? json : reportText(report));
      if (report.verdict === 'INVALID') process.exitCode = exitInvalid;
    });
}

/** Runs the session with a progress bar on a terminal. The first Ctrl-C ends it early, the second at once. */
async function measure(plan: SessionPlan): Promise<BenchReport> {
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once('SIGINT', interrupt);
  const progress = showProgress(process.stderr);
  try {
    return await runSession(plan, { progressed: progress.update }, stop.signal);
  } finally {
    progress.end();
    process.removeListener('SIGINT', interrupt);
  }
}

function save(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ShoalError('BAD_SETTING', `--save cannot write ${file}: ${why}.`, { cause });
  }
}
