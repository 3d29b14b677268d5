import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../platform/package-root.js';
import { softwareVersion } from '../../platform/software-version.js';
import { HttpCaller } from '../support/http-caller.js';
import { mnistVectors } from '../support/recorded-vectors.js';
import { type Cluster, type Finished, ShoalGround } from '../support/shoal-ground.js';

const inputs = path.join(packageRoot, 'examples/inputs');
const picture = (digit: string): string => path.join(inputs, `mnist/${digit}.png`);
const features = (type: string): string => path.join(inputs, `magika/${type}.npy`);

let ground: ShoalGround;
let cluster: Cluster;
beforeAll(async () => {
  ground = await ShoalGround.open();
  cluster = await ground.up();
});
afterAll(() => ground.close());

/** A client command against the cluster. */
const shoal = (...args: string[]): Promise<Finished> => ground.run([...args, '--server', cluster.grpc]);

/** Standard output of a command that must succeed without a complaint. */
async function said(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await shoal(...args);
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');

interface JsonAnswer {
  readonly input: string;
  readonly model: string;
  readonly version: string;
  readonly classes: readonly {
    readonly rows: readonly (readonly { readonly label: string; readonly probability: number }[])[];
  }[];
  readonly timing: { readonly batchRows: number; readonly worker: string };
  readonly outputs: readonly { readonly name: string; readonly data: readonly number[] }[];
}

const jsonLines = (text: string): JsonAnswer[] => linesOf(text).map((line) => JSON.parse(line) as JsonAnswer);

describe('shoal infer', () => {
  test('names the digit of a picture: 5 on top', async () => {
    const lines = linesOf(await said('infer', 'mnist', '--input', picture('five')));
    expect(lines[0]).toMatch(/five\.png → mnist version 1$/);
    const head = lines.findIndex((line) => /CLASS +SCORE +PROBABILITY/.test(line));
    expect(lines[head + 1]).toMatch(/^ +5 +17\.\d+ +99\.\d+ %/);
    expect(lines).toHaveLength(lines.findIndex((line) => line.includes('no probabilities')) + 2);
    expect(lines.at(-1)).toMatch(/answered in .* in the queue, .* in ONNX Runtime, .*a batch of 1 row on worker-0/);
  });

  test('--output json has the whole answer: the recorded scores', async () => {
    const [answer] = jsonLines(await said('infer', 'mnist', '--input', picture('five'), '--output', 'json'));
    expect(answer).toMatchObject({ model: 'mnist', version: '1', timing: { batchRows: 1, worker: 'worker-0' } });
    expect(answer?.classes[0]?.rows[0]?.[0]?.label).toBe('5');
    const recorded = mnistVectors.map(({ outputs }) => {
      const raw = Buffer.from(outputs[0]?.raw_b64 ?? '', 'base64');
      return Array.from({ length: 10 }, (_, i) => raw.readFloatLE(4 * i));
    });
    const scores = answer?.outputs[0]?.data ?? [];
    const nearest = recorded.filter((vector) =>
      vector.every((value, i) => Math.abs(value - (scores[i] ?? NaN)) < 1e-3),
    );
    expect(nearest).toHaveLength(1);
  });

  test('takes several files at once, each a request of its own, and a version', async () => {
    const types = ['json', 'pdf', 'png', 'python', 'rust'];
    for (const version of ['1', '2']) {
      const text = await said(
        'infer',
        'magika',
        '--input',
        ...types.map(features),
        '--top',
        '1',
        '--version',
        version,
        '--output',
        'json',
      );
      const answers = jsonLines(text);
      expect(answers.map((answer) => answer.classes[0]?.rows[0]?.map(({ label }) => label))).toEqual(
        types.map((type) => [type]),
      );
      expect(new Set(answers.map((answer) => answer.version))).toEqual(new Set([version]));
    }
  });

  test('--print-request is a body that the HTTP door answers', async () => {
    const body = await said('infer', 'mnist', '--input', picture('four'), '--print-request');
    const http = new HttpCaller(cluster.http);
    const { status, text } = await http.send('POST', '/v2/models/mnist/infer', body);
    http.close();
    expect(status, text).toBe(200);
    const { data } = JSON.parse(text).outputs[0] as { data: number[] };
    expect(data.indexOf(Math.max(...data))).toBe(4);
  });

  test('reads JSON from standard input', async () => {
    const pixels = new Array(28).fill(new Array(28).fill(0));
    const args = ['infer', 'mnist', '--input', '-', '--server', cluster.grpc];
    const { code, stdout } = await ground.run(args, { input: JSON.stringify(pixels) });
    expect(code).toBe(0);
    expect(stdout).toContain('→ mnist version 1');
  });

  test.each<[string, number, string[], RegExp]>([
    [
      'an unknown model',
      1,
      ['nosuch', '--input', picture('five')],
      /There is no model 'nosuch'\. List the served models/,
    ],
    [
      'an unknown version',
      1,
      ['mnist', '--version', '9', '--input', picture('five')],
      /Model 'mnist' has no version '9', only 1\./,
    ],
    ['a file that is not there', 2, ['mnist', '--input', 'nosuch.png'], /The file nosuch\.png does not exist\./],
    [
      'a file of another shape',
      2,
      ['mnist', '--input', features('pdf')],
      /pdf\.npy has shape \[1,2048\]; input Input3 takes \[1,1,28,28\]/,
    ],
    ['no model', 2, [], /Missing required argument 'MODEL'/],
    ['an option that is no number', 2, ['mnist', '--top', 'all'], /--top/],
  ])('%s: exit %d and one line', async (_name, exit, args, sentence) => {
    const { code, stdout, stderr } = await shoal('infer', ...args);
    expect(linesOf(stderr)).toEqual([expect.stringMatching(sentence)]);
    expect(stderr).toMatch(/^shoal: /);
    expect([code, stdout]).toEqual([exit, '']);
  });
});

describe('shoal models and shoal workers', () => {
  test('list what is served, as a table', async () => {
    const [head, ...rows] = linesOf(await said('models'));
    expect(head).toMatch(/^MODEL +VERSION +STATE +BATCH +QUEUE +INSTANCES +REASON$/);
    expect(rows.map((row) => row.trim().split(/ {2,}/))).toEqual([
      ['magika', '1', 'ready', '64', '0', 'worker-0: 1 cpu'],
      ['magika', '2', 'ready', '64', '0', 'worker-0: 1 cpu'],
      ['mnist', '1', 'ready', 'none', '0', 'worker-0: 1 cpu'],
    ]);
    const [, worker, , ...instances] = linesOf(await said('workers'));
    expect(worker?.trim().split(/ {2,}/)).toEqual([
      'worker-0',
      'connected',
      'in-process',
      'cpu',
      '0',
      String(cluster.pid),
      softwareVersion,
    ]);
    expect(instances).toHaveLength(3);
    for (const instance of instances)
      expect(instance).toMatch(/^worker-0 +(magika|mnist) +[12] +\S+ +cpu +idle +\d+ +0/);
  });

  test('list it as JSON, with processes that are really there', async () => {
    const models = JSON.parse(await said('models', 'mnist', '--output', 'json')) as unknown[];
    expect(models).toMatchObject([
      {
        model: 'mnist',
        version: '1',
        state: 'ready',
        workers: ['worker-0'],
        spec: { maxBatchSize: 0, inputs: [{ name: 'Input3', datatype: 'FP32', shape: [1, 1, 28, 28] }] },
      },
    ]);
    const [worker] = JSON.parse(await said('workers', '--output', 'json')) as {
      versions: { model: string; version: string; instances: { pid: number }[] }[];
    }[];
    for (const { model, version, instances } of worker?.versions ?? []) {
      for (const { pid } of instances) {
        expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).toContain(`${model}/${version}`);
      }
    }
    expect(worker?.versions).toHaveLength(3);
  });

  test('a model that is not there: exit 1 and one line', async () => {
    const { code, stdout, stderr } = await shoal('models', 'nosuch');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^shoal: No model is called "nosuch"\. .*\n$/);
  });

  test.each(['models', 'workers', 'infer mnist --input x', 'bench mnist'])(
    '%s with nobody at the address: exit 1 and one line',
    async (command) => {
      const { code, stdout, stderr } = await ground.run([...command.split(' '), '--server', '127.0.0.1:1']);
      expect(linesOf(stderr)).toHaveLength(1);
      expect(stderr).toMatch(/^shoal: .*127\.0\.0\.1:1/);
      expect([code, stdout]).toEqual([1, '']);
    },
  );
});

describe('shoal config', () => {
  test('says where each setting comes from, and its yaml is a settings file', async () => {
    const file = path.join(ground.folder, 'mine.yaml');
    await writeFile(file, 'max-attempts: 7\nhttp-port: 9000\n');
    const env = { SHOAL_HTTP_PORT: '9100', SHOAL_CONFIG: file };
    const asJson = await ground.run(['config', '--output', 'json'], { env });
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      'max-attempts': { value: 7, origin: expect.stringContaining('mine.yaml') },
      'http-port': { value: 9100, origin: expect.stringContaining('SHOAL_HTTP_PORT') },
      'grpc-port': { value: 8001, origin: 'default' },
    });
    const asYaml = await ground.run(['config', '--output', 'yaml'], { env });
    const again = path.join(ground.folder, 'again.yaml');
    await writeFile(again, asYaml.stdout);
    const { code, stdout } = await ground.run(['config', '--config', again, '--output', 'yaml']);
    expect([code, stdout]).toEqual([0, asYaml.stdout]);
  });

  test('a bad setting is named, and the exit code is 2', async () => {
    const { code, stderr } = await ground.run(['config'], { env: { SHOAL_GRPC_PORT: 'high' } });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^shoal: .*grpc-port.*"high".*SHOAL_GRPC_PORT/);
  });
});

test('the banner names the doors, the models and commands that work as they stand', async () => {
  const { stdout } = cluster;
  // On a machine that is busy with other tests the models may take longer than the banner waits.
  expect(stdout).toMatch(/Shoal serves: (3 model versions ready|\d model versions? ready, \d not ready so far)\./);
  for (const row of [/magika +1 /, /magika +2 /, /mnist +1 /]) expect(stdout).toMatch(row);
  const tried = linesOf(stdout.slice(stdout.indexOf('Try, in another terminal:'))).map((line) => line.trim());
  const infer = tried.find((line) => line.includes(' infer '));
  expect(infer).toMatch(/shoal infer mnist --input \S+five\.png --server 127\.0\.0\.1:\d+$/);
  const args = infer?.slice(infer.indexOf('infer ')).split(' ') ?? [];
  const { code, stdout: answer } = await ground.run(args);
  expect([code, answer]).toEqual([0, expect.stringContaining('five.png → mnist version 1')]);
});

test.each(['--help', 'help infer', 'up --help', '--version'])('shoal %s: exit 0', async (command) => {
  const { code, stdout, stderr } = await ground.run(command.split(' '));
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout.length).toBeGreaterThan(3);
});

test('shoal bench measures the running cluster and verifies every answer', async () => {
  const short = ['--duration', '500ms', '--warmup', '100ms', '--runs', '1'];
  const args = ['bench', 'mnist', '--concurrency', '1,4', ...short, '--verify', '--output', 'json'];
  const { code, stdout } = await shoal(...args);
  // 3: on a busy machine the harness may say that its own numbers are not to be trusted.
  expect([0, 3]).toContain(code);
  const { points } = JSON.parse(stdout) as { points: { load: object; runs: { good: number; errors: object }[] }[] };
  expect(points.map(({ load }) => load)).toEqual([1, 4].map((concurrency) => ({ kind: 'closed', concurrency })));
  for (const { runs } of points) {
    expect(runs[0]?.good).toBeGreaterThan(10);
    expect(runs[0]?.errors).toEqual({});
  }
});
