import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Tensor } from '../../core/tensor.js';
import type { ListedModelVersion } from '../../platform/admin/listing.js';
import { OipClient } from '../../platform/oip/client.js';
import { packageRoot } from '../../platform/package-root.js';
import { inferRequest } from '../support/oip-callers.js';
import { probeRepository } from '../support/probe-repository.js';
import { elementsOf } from '../support/recorded-vectors.js';
import { type Cluster, ShoalGround } from '../support/shoal-ground.js';

const mnist = path.join(packageRoot, 'examples/models/mnist/1/model.onnx');
const broken = (file: string): string => path.join(packageRoot, 'test/fixtures/broken', file);

interface BadModel {
  readonly model: string;
  readonly version: string;
  readonly reason: RegExp;
  /** Makes `<repository>/<model>` what it is. */
  make(folder: string): Promise<unknown>;
}

/** `<folder>/1/model.onnx` with these bytes, and a config.pbtxt if given. */
async function model(folder: string, bytes: Buffer | string, config?: string): Promise<string> {
  const file = path.join(folder, '1/model.onnx');
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, bytes);
  if (config !== undefined) await writeFile(path.join(folder, 'config.pbtxt'), config);
  return file;
}

const badModels: readonly BadModel[] = [
  {
    model: 'not-onnx',
    version: '1',
    reason: /not-onnx\/1\/model\.onnx.*Protobuf parsing failed/i,
    make: (folder) => model(folder, 'This is a shopping list: bread, milk, eggs.'),
  },
  {
    model: 'empty-file',
    version: '1',
    reason: /empty-file\/1\/model\.onnx is empty\./,
    make: (folder) => model(folder, ''),
  },
  {
    model: 'truncated',
    version: '1',
    reason: /truncated\/1\/model\.onnx.*Protobuf parsing failed/i,
    make: async (folder) => model(folder, (await readFile(mnist)).subarray(0, 15_000)),
  },
  {
    model: 'old-opset',
    version: '1',
    reason: /old-opset\/1\/model\.onnx.*Could not find an implementation for Add\(1\)/,
    make: async (folder) => model(folder, await readFile(broken('mnist-1.onnx'))),
  },
  {
    model: 'foreign-operators',
    version: '1',
    reason: /foreign-operators\/1\/model\.onnx.*ai\.onnx\.contrib/,
    make: async (folder) => model(folder, await readFile(broken('supres.onnx'))),
  },
  {
    model: 'unreadable',
    version: '1',
    reason: /unreadable\/1\/model\.onnx cannot be read: permission is denied\./,
    make: async (folder) => chmod(await model(folder, await readFile(mnist)), 0),
  },
  {
    model: 'misspelt-config',
    version: '1',
    reason: /misspelt-config\/config\.pbtxt.*max_batchsize.*max_batch_size/,
    make: async (folder) => model(folder, await readFile(mnist), 'max_batchsize: 8\n'),
  },
  {
    model: 'broken-config',
    version: '1',
    reason: /broken-config\/config\.pbtxt:3:1: expected a value for field 'name', but the file ends/,
    make: async (folder) => model(folder, await readFile(mnist), 'max_batch_size: 0\ninput [ { name: \n'),
  },
  {
    model: 'contradicting-config',
    version: '1',
    reason: /declares the input 'nosuch', but the model's inputs are 'Input3'/,
    make: async (folder) =>
      model(folder, await readFile(mnist), 'input [ { name: "nosuch" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'),
  },
  {
    model: 'cannot-batch',
    version: '1',
    reason:
      /max_batch_size of model 'cannot-batch', version 1 is 8, so the first dimension of every tensor must be free/,
    make: async (folder) => model(folder, await readFile(mnist), 'max_batch_size: 8\n'),
  },
  {
    model: 'wants-gpu',
    version: '1',
    reason: /An instance_group of the model wants-gpu asks for a GPU \(KIND_GPU\); this worker has cpu\./,
    make: async (folder) => model(folder, await readFile(mnist), 'instance_group [ { kind: KIND_GPU } ]\n'),
  },
  {
    model: 'no-version',
    version: '',
    reason: /no-version holds no version: expected a folder named 1, 2 or another number/,
    make: (folder) => mkdir(path.join(folder, 'latest'), { recursive: true }),
  },
  {
    model: 'no-file',
    version: '1',
    reason: /no-file\/1\/model\.onnx cannot be read: it does not exist\./,
    make: (folder) => mkdir(path.join(folder, '1'), { recursive: true }),
  },
];

let ground: ShoalGround;
beforeAll(async () => {
  ground = await ShoalGround.open();
});
afterAll(() => ground.close());

describe('a repository with bad models among good ones', () => {
  let cluster: Cluster;
  let client: OipClient;
  let listed: readonly ListedModelVersion[];
  beforeAll(async () => {
    const models = await probeRepository(path.join(ground.folder, 'models'), ['affine'], ['mnist']);
    for (const bad of badModels) await bad.make(path.join(models, bad.model));
    // One version that cannot be loaded beside one that can.
    await model(path.join(models, 'half'), await readFile(mnist));
    await mkdir(path.join(models, 'half/2'));
    await copyFile(broken('mnist-1.onnx'), path.join(models, 'half/2/model.onnx'));
    await writeFile(path.join(models, 'half/config.pbtxt'), 'version_policy: { all {} }\n');
    cluster = await ground.up({ models, unprivileged: true });
    client = new OipClient(cluster.grpc);
    const { code, stdout, stderr } = await ground.run(['models', '--server', cluster.grpc, '--output', 'json']);
    expect([code, stderr]).toEqual([0, '']);
    listed = JSON.parse(stdout) as ListedModelVersion[];
  });
  afterAll(() => client.close());

  test.each(badModels)(
    '$model is unavailable and `shoal models` says why',
    async ({ model: name, version, reason }) => {
      const found = listed.filter((entry) => entry.model === name);
      expect(found).toMatchObject([{ version, state: 'unavailable', reason: expect.stringMatching(reason) }]);
      expect(found[0]?.reason).toMatch(/^worker-0: .*[.?]$/s);
      await expect(client.infer(inferRequest(name, []))).rejects.toMatchObject({
        code: 'MODEL_NOT_READY',
        message: expect.stringMatching(reason),
      });
    },
  );

  test('the others serve', async () => {
    const states = listed.filter(({ state }) => state === 'ready').map((entry) => `${entry.model}/${entry.version}`);
    expect(states).toEqual(['affine/1', 'half/1', 'mnist/1']);
    expect(await client.serverReady()).toBe(true);
    const x: Tensor = { name: 'x', datatype: 'FP32', shape: [1, 4], data: new Uint8Array(16) };
    const [y] = (await client.infer(inferRequest('affine', [x]))).outputs;
    expect(elementsOf(y as Tensor)).toEqual([1, 1, 1, 1]);
  });

  test('of a model with a good and a bad version the good one answers, and the bad one says what is wrong', async () => {
    const picture: Tensor = { name: 'Input3', datatype: 'FP32', shape: [1, 1, 28, 28], data: new Uint8Array(3136) };
    expect((await client.infer(inferRequest('half', [picture]))).version).toBe('1');
    await expect(client.infer(inferRequest('half', [picture], { version: '2' }))).rejects.toMatchObject({
      code: 'MODEL_NOT_READY',
      message: expect.stringMatching(/version 2 is unavailable \(worker-0: .*Add\(1\)/),
    });
  });

  test('the banner lists them with their reasons', () => {
    expect(cluster.stdout).toMatch(/Shoal serves: 3 model versions ready, 14 not ready\./);
    for (const { model: name, reason } of badModels) {
      expect(cluster.stdout.split('\n').find((line) => line.includes(` ${name} `))).toMatch(reason);
    }
  });
});

describe('what keeps a command from starting is told in one line, with exit code', () => {
  const free = ['--grpc-port', '0', '--http-port', '0', '--metrics-port', '0'];
  let taken: Server;
  let port: number;
  beforeAll(async () => {
    taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const address = taken.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
    await mkdir(path.join(ground.folder, 'closed'));
    await chmod(path.join(ground.folder, 'closed'), 0);
  });
  afterAll(() => new Promise((resolve) => taken.close(resolve)));

  test.each<[string, number, (port: number) => string[], RegExp]>([
    [
      'a gRPC port in use',
      2,
      (used) => ['up', ...free, '--grpc-port', `${used}`],
      /Cannot listen on port \d+ on 127\.0\.0\.1 \(--grpc-port\): another process has it\./,
    ],
    [
      'an HTTP port in use',
      2,
      (used) => ['up', ...free, '--http-port', `${used}`],
      /Cannot listen on port \d+ on 127\.0\.0\.1 \(--http-port\): another process has it\./,
    ],
    [
      'a metrics port in use',
      2,
      (used) => ['coordinator', '--host', '127.0.0.1', ...free, '--metrics-port', `${used}`],
      /Cannot listen on port \d+ on 127\.0\.0\.1 \(--metrics-port\): another process has it\./,
    ],
    [
      'a link port in use',
      2,
      (used) => ['worker', '--host', '127.0.0.1', '--models', '.', '--link-port', `${used}`],
      /Cannot listen on port \d+ on 127\.0\.0\.1 \(--link-port\): another process has it\./,
    ],
    [
      'a repository that is not there',
      2,
      () => ['up', ...free, '--models', 'nosuch'],
      /The model repository .*\/nosuch cannot be used: it does not exist\./,
    ],
    [
      'a repository that may not be read',
      2,
      () => ['up', ...free, '--models', 'closed'],
      /The model repository .*\/closed cannot be used: .*permission.*\./i,
    ],
    [
      'a repository that is a file',
      2,
      () => ['up', ...free, '--models', mnist],
      /The model repository .*model\.onnx cannot be used: .*\./,
    ],
    [
      'a slab folder that is not there',
      2,
      () => ['up', ...free, '--slab-dir', 'nosuch'],
      /The shared-memory folder .*\/nosuch cannot be used: .*\./,
    ],
    [
      'a device of no known kind',
      2,
      () => ['up', ...free, '--devices', 'cpu,tpu:0'],
      /The setting devices is "cpu,tpu:0" \(from --devices\); expected .*\./,
    ],
    [
      'a device that is not there',
      1,
      () => ['up', ...free, '--devices', 'cuda:63'],
      /The device "cuda:63" cannot be used: .*\./,
    ],
    [
      'a setting out of range',
      2,
      () => ['up', '--max-attempts', '0'],
      /The setting max-attempts is "0" \(from --max-attempts\); expected .*\./,
    ],
    ['an unknown option', 2, () => ['up', '--prot', '1'], /Unknown option '--prot'.*/],
    ['an unknown command', 2, () => ['serve'], /Unknown command 'serve'.*/i],
    [
      'a settings file that is not there',
      2,
      () => ['up', '--config', 'nosuch.yaml'],
      /The settings file nosuch\.yaml \(--config\) does not exist\./,
    ],
  ])('%s: exit %d', async (_name, exit, args, sentence) => {
    const { code, stdout, stderr } = await ground.run(args(port), { unprivileged: true });
    expect(stdout).toBe('');
    // Log lines are JSON here; people see one sentence beside them.
    const said = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    expect(said).toEqual([expect.stringMatching(new RegExp(`^shoal: ${sentence.source}`, sentence.flags))]);
    expect(code).toBe(exit);
  });
});
