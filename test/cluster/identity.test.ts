import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { seededRandom } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { packageRoot } from '../../platform/package-root.js';
import { DirectModel } from '../support/direct-onnx.js';
import { HttpCaller } from '../support/http-caller.js';
import { type IdentifiedRequest, IdentityTraffic, wrongness } from '../support/identity-traffic.js';
import { inferRequest, inParallel, strangers } from '../support/oip-callers.js';
import { probeBatchSize, probeRepository } from '../support/probe-repository.js';
import {
  bytesOfElements,
  elementsOf,
  expectTensor,
  mnistVectors,
  readMagikaVectors,
  tensorOf,
} from '../support/recorded-vectors.js';
import { ShoalGround } from '../support/shoal-ground.js';

const requests = 4000;
const grpcCallers = 12;
const httpCallers = 4;
const inFlight = 128;
/** One request in this many goes over HTTP, as JSON. */
const httpShare = 25;

interface Topology {
  readonly name: string;
  readonly seed: number;
  readonly workers: readonly string[];
  start(ground: ShoalGround, models: string): Promise<{ readonly grpc: string; readonly http: string }>;
}

const topologies: readonly Topology[] = [
  {
    name: 'shoal up with two workers: links in memory',
    seed: 1,
    workers: ['worker-0', 'worker-1'],
    start: (ground, models) => ground.up({ models, flags: ['--workers', '2'] }),
  },
  {
    name: 'a coordinator and two workers that joined: links over gRPC',
    seed: 2,
    workers: ['east', 'west'],
    start: async (ground, models) => {
      const coordinator = await ground.coordinator();
      await Promise.all(['east', 'west'].map((id) => ground.worker(id, [coordinator.grpc], { models })));
      return coordinator;
    },
  },
];

describe.each(topologies)('$name', ({ seed, workers, start }) => {
  let ground: ShoalGround;
  let models: string;
  let doors: { readonly grpc: string; readonly http: string };
  let callers: ReturnType<typeof strangers>;
  let overHttp: HttpCaller[];
  beforeAll(async () => {
    ground = await ShoalGround.open();
    const own = path.join(ground.folder, 'models');
    models = await probeRepository(own, ['affine', 'bytes', 'wide', 'seq', 'neighbour'], ['mnist', 'magika']);
    doors = await start(ground, models);
    callers = strangers(doors.grpc, grpcCallers);
    overHttp = Array.from({ length: httpCallers }, () => new HttpCaller(doors.http));
  });
  afterAll(async () => {
    for (const caller of [...callers, ...overHttp]) caller.close();
    await ground.close();
  });

  const caller = (index: number) => callers[index % grpcCallers] as (typeof callers)[number];

  async function askHttp({ model, input }: IdentifiedRequest, id: string, index: number) {
    const { name, datatype, shape } = input;
    const body = {
      id,
      parameters: { shoal_timing: true },
      inputs: [{ name, datatype, shape, data: elementsOf(input) }],
    };
    const http = overHttp[(index / httpShare) % httpCallers] as HttpCaller;
    const { status, text } = await http.send('POST', `/v2/models/${model}/infer`, JSON.stringify(body));
    expect(status, text).toBe(200);
    const answer = JSON.parse(text) as { id: string; parameters: Record<string, unknown>; outputs: JsonOutput[] };
    return { id: answer.id, parameters: answer.parameters, outputs: answer.outputs.map(fromJson) };
  }

  test(`${requests} requests of ${grpcCallers + httpCallers} callers: every row comes back to whoever sent it`, async () => {
    const traffic = new IdentityTraffic(seededRandom(seed));
    const plan = Array.from({ length: requests }, () => traffic.next());
    const wrong: string[] = [];
    const seen = { workers: new Set<string>(), sharedBatches: 0, split: 0, mostRows: 0 };
    await inParallel(plan, inFlight, async (request, index) => {
      const id = `${seed}-${index}`;
      const { model, input, rows } = request;
      const answer =
        index % httpShare === 0
          ? await askHttp(request, id, index)
          : await caller(index).infer(inferRequest(model, [input], { id, parameters: { shoal_timing: true } }));
      const complaint = answer.id === id ? wrongness(answer.outputs[0], request) : `the id is ${answer.id}`;
      if (complaint !== undefined) wrong.push(`request ${id} to ${model} with ${rows} rows: ${complaint}`);
      const batchRows = Number(answer.parameters.shoal_batch_rows);
      seen.workers.add(String(answer.parameters.shoal_worker));
      seen.mostRows = Math.max(seen.mostRows, batchRows);
      if (batchRows > rows) seen.sharedBatches++;
      if (rows > probeBatchSize) seen.split++;
    });
    expect(wrong).toEqual([]);
    // The test has only meant something if strangers were batched together, and large requests split, on both workers.
    expect([...seen.workers].sort()).toEqual(workers);
    expect(seen.sharedBatches).toBeGreaterThan(requests / 4);
    expect(seen.split).toBeGreaterThan(requests / 100);
    expect(seen.mostRows).toBeLessThanOrEqual(probeBatchSize);
  });

  test('sequences of two lengths at once: every answer is the one ONNX Runtime gives to the request alone', async () => {
    const random = seededRandom(seed + 10);
    const direct = await DirectModel.open(path.join(models, 'seq/1/model.onnx'));
    const plan = Array.from({ length: 300 }, (): Tensor => {
      const shape = [1 + random.int(4), 4 + random.int(2), 256];
      const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => 4 * random.next() - 2);
      return { name: 'x', datatype: 'FP32', shape, data: new Uint8Array(values.buffer) };
    });
    const answers = await inParallel(plan, 64, (input, index) => caller(index).infer(inferRequest('seq', [input])));
    for (const [index, input] of plan.entries()) {
      const [expected] = await direct.run([input]);
      // Sums in another order differ in the last bits; other rows differ in the first (more than 0.01).
      expectTensor(answers[index]?.outputs[0], expected as Tensor, { atol: 1e-4 });
    }
    await direct.release();
  });

  test('a model whose rows depend on their neighbours is not served in batches', async () => {
    const input: Tensor = { name: 'x', datatype: 'FP32', shape: [1, 4], data: new Uint8Array(16) };
    await expect(caller(0).infer(inferRequest('neighbour', [input]))).rejects.toMatchObject({
      code: 'MODEL_NOT_READY',
      message: expect.stringMatching(/max_batch_size 64, but rows of one batch are not independent: .*neighbour/),
    });
  });

  test('mnist and magika answer as ONNX Runtime called directly does', async () => {
    const file = (model: string, version: string) =>
      path.join(packageRoot, 'examples/models', model, version, 'model.onnx');
    const [mnist, magika] = await Promise.all([
      DirectModel.open(file('mnist', '1')),
      DirectModel.open(file('magika', '2')),
    ]);
    const digits = mnistVectors.map(({ inputs }) => inputs.map(tensorOf));
    const files = readMagikaVectors().vectors.filter((_, index) => index % 6 === 0);
    const inputs = files.map(({ features }): Tensor[] => [
      { name: 'bytes', datatype: 'INT32', shape: [1, 2048], data: features },
    ]);
    const calls = [
      ...digits.map((tensors) => ({ model: 'mnist', direct: mnist, tensors, atol: 1e-4 })),
      // A row in company is computed a little differently from one alone: see examples/README.md.
      ...inputs.map((tensors) => ({ model: 'magika', direct: magika, tensors, atol: 1e-2 })),
    ];
    const answers = await inParallel(calls, 32, ({ model, tensors }, i) =>
      caller(i).infer(inferRequest(model, tensors)),
    );
    for (const [index, { direct, tensors, atol }] of calls.entries()) {
      const [expected] = await direct.run(tensors);
      expectTensor(answers[index]?.outputs[0], expected as Tensor, { atol });
    }
    await Promise.all([mnist.release(), magika.release()]);
  });
});

interface JsonOutput {
  readonly name: string;
  readonly datatype: 'FP32' | 'BYTES';
  readonly shape: number[];
  readonly data: readonly (number | string)[];
}

const fromJson = ({ name, datatype, shape, data }: JsonOutput): Tensor => {
  return { name, datatype, shape, data: bytesOfElements(datatype, data) };
};
