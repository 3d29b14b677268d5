import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateMaskedModel } from '../../bench/models/masked.js';
import { seededRandom } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { AdminClient } from '../../platform/admin/client.js';
import { OipClient } from '../../platform/oip/client.js';
import { DirectModel } from '../support/direct-onnx.js';
import { inferRequest, inParallel } from '../support/oip-callers.js';
import { expectTensor } from '../support/recorded-vectors.js';
import { type Cluster, ShoalGround } from '../support/shoal-ground.js';

/** Padding with 9 and a mask of 0: were the mask not padded, or the answer not cut, every answer would show it. */
const sequences = { sequence_buckets: '8,64', sequence_axes: 'x:1=9,mask:1=0,tokens:1' };
const fixed = { fixed_batch_sizes: '8,64' };
const models = {
  plain: {},
  bucketed: sequences,
  fixed,
  both: { ...sequences, ...fixed },
} as const;
type Model = keyof typeof models;

let ground: ShoalGround;
let cluster: Cluster;
let client: OipClient;
let direct: DirectModel;
beforeAll(async () => {
  ground = await ShoalGround.open();
  const repository = path.join(ground.folder, 'models');
  for (const [name, parameters] of Object.entries(models)) {
    // Time for requests that are sent together to meet, however slow the machine.
    await generateMaskedModel(repository, { name, parameters, queueDelayUs: 200_000 });
  }
  direct = await DirectModel.open(path.join(repository, 'plain/1/model.onnx'));
  // Two processes, so that what is declared and what is filled up also cross the link.
  cluster = await ground.coordinator();
  await ground.worker('w1', [cluster.grpc], { models: repository });
  client = new OipClient(cluster.grpc);
});
afterAll(async () => {
  client.close();
  await direct.release();
  await ground.close();
});

/** Random numbers, and a mask that hides some of them but never all. */
function inputsOf(rows: number, length: number, seed: number): Tensor[] {
  const random = seededRandom(seed);
  const x = Float32Array.from({ length: rows * length * 2 }, () => random.next() - 0.5);
  const mask = BigInt64Array.from({ length: rows * length }, (_, i) => BigInt(i % length === 0 ? 1 : random.int(2)));
  return [
    { name: 'x', datatype: 'FP32', shape: [rows, length, 2], data: new Uint8Array(x.buffer) },
    { name: 'mask', datatype: 'INT64', shape: [rows, length], data: new Uint8Array(mask.buffer) },
  ];
}

/** Sends all at once, holds each answer against ONNX Runtime on the unpadded input, gives the rows each ran with. */
async function answered(model: Model, requests: readonly { rows: number; length: number }[]): Promise<number[]> {
  return inParallel(requests, requests.length, async ({ rows, length }, seed) => {
    const inputs = inputsOf(rows, length, seed + 1);
    const got = await client.infer(inferRequest(model, inputs, { parameters: { shoal_timing: true } }));
    const want = await direct.run(inputs);
    expect(got.outputs.map(({ name }) => name)).toEqual(['mean', 'tokens']);
    for (const [i, output] of want.entries()) expectTensor(got.outputs[i], output, { atol: 1e-6, rtol: 1e-5 });
    return Number(got.parameters.shoal_batch_rows);
  });
}

const mixed = [3, 5, 9, 70, 8, 1, 64, 5, 70, 3].map((length, i) => ({ rows: 1 + (i % 3), length }));

describe('answers are those of ONNX Runtime on the unpadded input', () => {
  test.each(Object.keys(models) as Model[])('%s: requests of mixed lengths and rows', async (model) => {
    await answered(model, mixed);
  });

  test.each(Object.keys(models) as Model[])('%s: a request of more rows than a batch may have', async (model) => {
    await answered(model, [{ rows: 130, length: 5 }]);
  });

  test('an output asked for alone is cut, too', async () => {
    const inputs = inputsOf(2, 11, 99);
    const outputs = [{ name: 'tokens', parameters: {} }];
    const got = await client.infer(inferRequest('both', inputs, { outputs }));
    expect(got.outputs).toHaveLength(1);
    expectTensor(got.outputs[0], (await direct.run(inputs))[1] as Tensor, { rtol: 1e-5 });
  });
});

describe('who shares a batch', () => {
  const lengths = [3, 5, 8, 1].map((length) => ({ rows: 1, length }));

  test('without buckets only those of one length', async () => {
    expect(Math.max(...(await answered('plain', lengths)))).toBe(1);
  });

  test.each(['bucketed', 'both'] as const)('%s: those of one bucket', async (model) => {
    expect(Math.max(...(await answered(model, lengths)))).toBeGreaterThan(1);
  });
});

test('sequence axes that disagree within a request are refused by name', async () => {
  const [x, mask] = [inputsOf(1, 3, 1)[0] as Tensor, inputsOf(1, 4, 1)[1] as Tensor];
  await expect(client.infer(inferRequest('bucketed', [x, mask]))).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining("'x' has 3 along axis 1, 'mask' has 4 along axis 1."),
  });
});

test('operators see what was declared', async () => {
  const admin = new AdminClient(cluster.grpc);
  const both = (await admin.listModels()).find(({ model }) => model === 'both');
  admin.close();
  expect(both).toMatchObject({
    state: 'ready',
    reason: '',
    spec: {
      fixedRows: [8, 64],
      buckets: {
        lengths: [8, 64],
        inputs: [
          { tensor: 'x', axis: 1, padValue: 9 },
          { tensor: 'mask', axis: 1, padValue: 0 },
        ],
        outputs: [{ tensor: 'tokens', axis: 1 }],
      },
    },
  });
});
