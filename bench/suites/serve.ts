/**
 * `npm run bench:serve`: how near a whole `shoal up` on one core comes to bare ONNX Runtime on that core, with the
 * load made on another core. Prints the tables of docs/BENCHMARKS.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { ShoalError } from '../../core/errors.js';
import { parseDurationMs, parsePositiveDurationMs } from '../duration.js';
import { clientKinds } from '../infer-caller.js';
import { generateBenchModels } from '../models/generate.js';
import { oneOf, parseCount, parseCpus, parseNumber } from '../options.js';
import { complaints, serveMarkdown } from './serve-report.js';
import { runServeSuite, type ServePlan, serveSubjects } from './serve-runs.js';

interface Typed {
  readonly only: string;
  readonly reps: string;
  readonly duration: string;
  readonly warmup: string;
  readonly serverCpus: string;
  readonly loadCpus: string;
  readonly processes: string;
  readonly client: string;
  readonly maxOther: string;
  readonly quietLimit: string;
  readonly loadgen?: string;
  readonly json?: string;
}

function planOf(typed: Typed, folder: string): ServePlan {
  const names = typed.only.split(',');
  const subjects = serveSubjects.filter((subject) => names.includes(subject.model));
  if (subjects.length !== names.length) {
    const known = serveSubjects.map((subject) => subject.model).join(', ');
    throw new ShoalError('BAD_SETTING', `--only wants some of ${known}, and got "${typed.only}".`);
  }
  return {
    subjects,
    folder,
    repetitions: parseCount('--reps', typed.reps, 1, 100),
    durationMs: parsePositiveDurationMs('--duration', typed.duration),
    warmupMs: parseDurationMs('--warmup', typed.warmup),
    serverCpus: parseCpus('--server-cpus', typed.serverCpus),
    loadCpus: parseCpus('--load-cpus', typed.loadCpus),
    processes: parseCount('--processes', typed.processes, 1, 64),
    client: oneOf('--client', typed.client, clientKinds),
    mostOthers: parseNumber('--max-other', typed.maxOther, 0, 1024),
    quietLimitMs: parseDurationMs('--quiet-limit', typed.quietLimit),
    loadgen: typed.loadgen === undefined ? [] : typed.loadgen.split(' '),
  };
}

const program = new Command('bench:serve')
  .description('measure `shoal up` on one core against bare ONNX Runtime on the same core')
  .option('--only <models>', 'some of big, mid, tiny', 'big,tiny')
  .option('--reps <n>', 'repetitions, each with a server of its own', '3')
  .option('--duration <time>', 'window of each point', '6s')
  .option('--warmup <time>', 'load before each window', '2s')
  .option('--server-cpus <list>', 'cores of the server, and of the bare loop while the server idles', '0')
  .option('--load-cpus <list>', 'cores of the harness', '1')
  .option('--processes <n>', 'load processes', '1')
  .option('--client <kind>', 'who makes the calls: http2 or grpc-js', 'http2')
  .option('--max-other <cores>', 'a point is disturbed when others use more than this', '0.05')
  .option('--quiet-limit <time>', 'longest wait for a quiet machine before each point', '60s')
  .option(
    '--loadgen <command>',
    "another load generator, called like shoal bench's own options --addr --model --input …",
  )
  .option('--json <file>', 'also write everything as JSON');

const typed = program.parse().opts<Typed>();
const folder = mkdtempSync(join(tmpdir(), 'shoal-bench-serve-'));
try {
  const plan = planOf(typed, folder);
  // This process only watches; it must not sit on the server's core.
  spawnSync('taskset', ['-cp', plan.loadCpus, String(process.pid)]);
  await generateBenchModels(
    join(folder, 'models'),
    plan.subjects.map((subject) => subject.model),
  );
  const result = await runServeSuite(plan, (line) => process.stderr.write(`${line}\n`));
  if (typed.json !== undefined) writeFileSync(typed.json, `${JSON.stringify(result, undefined, 2)}\n`);
  process.stdout.write(serveMarkdown(result));
  process.stderr.write(complaints(result));
} catch (thrown) {
  const error = ShoalError.from(thrown);
  process.stderr.write(`bench:serve: ${error.message} ${error.kind.advice}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
