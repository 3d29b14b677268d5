import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ListedWorker } from '../../platform/admin/listing.js';
import { packageRoot } from '../../platform/package-root.js';
import { eventually } from '../support/eventually.js';
import { runShoal, ShoalCommand } from '../support/shoal-command.js';

const inputs = (model: string, file: string): string => join('examples', 'inputs', model, file);

/** Recorded outputs of the bundled digits: the first is `five`, the second `zero`, the third `four`. */
function recordedDigits(): number[][] {
  const file = readFileSync(join(packageRoot, 'examples', 'expected', 'mnist', 'vectors.json'), 'utf8');
  const { vectors } = JSON.parse(file) as { vectors: { outputs: { raw_b64: string }[] }[] };
  return vectors.map(({ outputs }) => {
    const bytes = Buffer.from(outputs[0]?.raw_b64 ?? '', 'base64');
    return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4));
  });
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // no such process
  }
};

describe('a cluster on this machine, used from the command line', () => {
  let cluster: ShoalCommand;
  let server: string;
  let http: string;
  const shoal = (...args: string[]) => runShoal(args, { environment: { SHOAL_SERVER: server } });

  beforeAll(async () => {
    const free = ['--grpc-port', '0', '--http-port', '0', '--metrics-port', '0'];
    cluster = new ShoalCommand(['up', ...free, '--log-level', 'warn']);
    await cluster.printed(/Ctrl-C drains and stops/);
    server = (await cluster.printed(/gRPC +(\S+)/))[1] ?? '';
    http = (await cluster.printed(/HTTP +(\S+)/))[1] ?? '';
  });

  afterAll(async () => {
    cluster.child.kill('SIGKILL');
    await cluster.ended;
  });

  test('the banner shows every model ready and commands for these ports', () => {
    expect(cluster.stdout).toMatch(/^ {2}mnist +1 +ready$/m);
    expect(cluster.stdout).toMatch(/^ {2}magika +2 +ready$/m);
    expect(cluster.stdout).toContain(`infer mnist --input ${inputs('mnist', 'five.png')} --server ${server}`);
  });

  test('a picture is recognised, with the recorded scores', async () => {
    const table = await shoal('infer', 'mnist', '--input', inputs('mnist', 'five.png'));
    expect(table.stderr).toBe('');
    expect(table.stdout).toMatch(/CLASS +SCORE +PROBABILITY\n +5 +\d+\.\d{3} +\d+\.\d\d % +█+/);
    expect(table.stdout).toMatch(/answered in .* in ONNX Runtime, .*a batch of 1 row on worker-0/);

    const files = ['five.png', 'zero.png', 'four.png'].map((file) => inputs('mnist', file));
    const json = await shoal('infer', 'mnist', '--output', 'json', '--input', ...files);
    const answers = json.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { classes: { rows: { label: string }[][] }[]; outputs: { data: number[] }[] });
    expect(answers.map(({ classes }) => classes[0]?.rows[0]?.[0]?.label)).toEqual(['5', '0', '4']);
    for (const [index, scores] of recordedDigits().entries()) {
      const data = answers[index]?.outputs[0]?.data ?? [];
      expect(data).toHaveLength(10);
      for (const [digit, score] of scores.entries()) expect(data[digit]).toBeCloseTo(score, 3);
    }
  });

  test('the JSON example is the picture, and HTTP gives it the same answer', async () => {
    const [picture, file] = await Promise.all([
      shoal('infer', 'mnist', '--print-request', '--input', inputs('mnist', 'five.png')),
      shoal('infer', 'mnist', '--print-request', '--input', inputs('mnist', 'five.json')),
    ]);
    expect(JSON.parse(file.stdout)).toEqual(JSON.parse(picture.stdout));
    const answer = await fetch(`${http}/v2/models/mnist/infer`, { method: 'POST', body: picture.stdout });
    const { outputs } = (await answer.json()) as { outputs: { data: number[] }[] };
    const data = outputs[0]?.data ?? [];
    expect(data.indexOf(Math.max(...data))).toBe(5);
  });

  test('a numpy array and standard input are taken, both versions answer', async () => {
    const newest = await shoal('infer', 'magika', '--input', inputs('magika', 'python.npy'));
    expect(newest.stdout).toMatch(/→ magika version 2\n\n +CLASS +PROBABILITY\n +python +9\d\.\d\d %/);
    const older = await shoal(
      'infer',
      'magika',
      '--version',
      '1',
      '--top',
      '1',
      '--input',
      `bytes=${inputs('magika', 'rust.npy')}`,
    );
    expect(older.stdout).toMatch(/→ magika version 1\n\n +CLASS +PROBABILITY\n +rust +\d+\.\d\d %/);
    const request = await shoal('infer', 'magika', '--print-request', '--input', inputs('magika', 'pdf.npy'));
    const piped = await runShoal(['infer', 'magika', '--server', server, '--input', '-'], { input: request.stdout });
    expect(piped.stdout).toMatch(/^standard input → magika version 2\n\n.*\n +pdf /);
  });

  test('models and workers are listed with their executors', async () => {
    const models = await shoal('models');
    expect(models.stdout).toMatch(/^magika +2 +ready +64 +0 +worker-0: 1 cpu$/m);
    expect(models.stdout).toMatch(/^mnist +1 +ready +none +0 +worker-0: 1 cpu$/m);
    const workers = await shoal('workers');
    expect(workers.stdout).toMatch(/^worker-0 +connected +in-process +cpu +\d+ +\d+ /m);
    expect(workers.stdout).toMatch(/^worker-0 +mnist +1 +\S+ +cpu +idle +\d+ +0$/m);
  });

  test.each<[string, string[], number, RegExp]>([
    [
      'an unknown model',
      ['infer', 'mnits', '--input', 'x.npy'],
      1,
      /^shoal: There is no model 'mnits'\. List the served models with `shoal models`\.\n$/,
    ],
    [
      'an unknown version',
      ['infer', 'mnist', '--version', '7', '--input', 'x.npy'],
      1,
      /^shoal: .*no version '7'.*\n$/,
    ],
    [
      'a missing file',
      ['infer', 'mnist', '--input', 'none.png'],
      2,
      /^shoal: The file none\.png does not exist\. .*\n$/,
    ],
    [
      'a tensor of another shape',
      ['infer', 'mnist', '--input', inputs('magika', 'pdf.npy')],
      2,
      /^shoal: \S+pdf\.npy has shape \[1,2048\]; input Input3 takes \[1,1,28,28\].*\n$/,
    ],
    [
      'a mistyped flag',
      ['infer', 'mnist', '--inptu', 'x'],
      2,
      /^shoal: Unknown option '--inptu' \(Did you mean --input\?\) See `shoal --help`\.\n$/,
    ],
    [
      'a mistyped command',
      ['infre'],
      2,
      /^shoal: Unknown command 'infre' \(Did you mean infer\?\) See `shoal --help`\.\n$/,
    ],
    [
      'nobody there',
      ['models', '--server', '127.0.0.1:1'],
      1,
      /^shoal: Cannot reach the coordinator at 127\.0\.0\.1:1: connect ECONNREFUSED 127\.0\.0\.1:1\. .*\n$/,
    ],
    [
      'a bad setting',
      ['up', '--workers', 'many'],
      2,
      /^shoal: The setting workers is "many" \(from --workers\); expected .*\n$/,
    ],
  ])('%s is one line on stderr and an exit code', async (_, args, code, line) => {
    const ended = await shoal(...args);
    expect(ended.stderr).toMatch(line);
    expect(ended.code).toBe(code);
    expect(ended.stdout).toBe('');
  });

  test('a port in use is told in one line, and the cluster that has it is not disturbed', async () => {
    const port = server.slice(server.lastIndexOf(':') + 1);
    const ended = await runShoal([
      'up',
      '--grpc-port',
      port,
      '--http-port',
      '0',
      '--metrics-port',
      '0',
      '--log-level',
      'warn',
    ]);
    expect(ended.stderr).toMatch(new RegExp(`^shoal: Cannot listen on port ${port} .*another process has it.*\\n$`));
    expect(ended.code).toBe(2);
    expect((await shoal('infer', 'mnist', '--input', inputs('mnist', 'four.png'))).code).toBe(0);
  });

  test('Ctrl-C of a command that waits for its server ends it with 130', async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const address = silent.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const waiting = new ShoalCommand(['models', '--server', `127.0.0.1:${port}`]);
    silent.once('connection', () => waiting.child.kill('SIGINT'));
    const { code, stdout, stderr } = await waiting.ended;
    silent.close();
    expect({ code, stdout, stderr }).toEqual({ code: 130, stdout: '', stderr: '' });
  });

  test('Ctrl-C of the cluster drains it, ends its executors and exits 0', async () => {
    const { stdout } = await shoal('workers', '--output', 'json');
    const workers = JSON.parse(stdout) as ListedWorker[];
    const pids = workers.flatMap(({ versions }) =>
      versions.flatMap(({ instances }) => instances.map(({ pid }) => pid)),
    );
    expect(pids.filter(isAlive)).toHaveLength(3);
    cluster.child.kill('SIGINT');
    const ended = await cluster.ended;
    expect(ended.code).toBe(0);
    expect(ended.stdout).toContain('Draining: finishing what was accepted');
    expect(ended.stdout.trimEnd()).toMatch(/Drained\.$/);
    await eventually(() => expect(pids.filter(isAlive)).toEqual([]));
  });
});
