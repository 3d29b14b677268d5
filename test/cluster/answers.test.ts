import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Tensor } from '../../core/tensor.js';
import { OipClient } from '../../platform/oip/client.js';
import { HttpCaller } from '../support/http-caller.js';
import { inferRequest, inParallel, strangers } from '../support/oip-callers.js';
import {
  elementsOf,
  expectTensor,
  type MagikaVector,
  magikaClasses,
  mnistVectors,
  type RecordedTensor,
  readMagikaVectors,
  tensorOf,
} from '../support/recorded-vectors.js';
import { type Cluster, ShoalGround } from '../support/shoal-ground.js';

const magika = readMagikaVectors();

/** Scores move by up to 5e-3 when a row runs with others (measured with ONNX Runtime itself: see examples/README.md). */
const batchedTolerance = 1e-2;

const magikaInput = (vector: MagikaVector): Tensor => ({
  name: 'bytes',
  datatype: 'INT32',
  shape: [1, 2048],
  data: vector.features,
});

/** Label index and score of one row of scores. */
function best(scores: readonly number[]): { readonly index: number; readonly score: number } {
  const score = Math.max(...scores);
  return { index: scores.indexOf(score), score };
}

function expectAnswer(scores: readonly number[], vector: MagikaVector, tolerance: number): void {
  expect(scores).toHaveLength(magikaClasses);
  const { index, score } = best(scores);
  expect(index, `${vector.what} is ${vector.label}`).toBe(vector.index);
  expect(Math.abs(score - vector.score), `the score of ${vector.what}`).toBeLessThan(tolerance);
}

const scoresOf = (output: Tensor | undefined): number[] => (output === undefined ? [] : elementsOf(output).map(Number));

interface HttpBody {
  readonly model_name: string;
  readonly model_version: string;
  readonly id?: string;
  readonly parameters?: Readonly<Record<string, unknown>>;
  readonly outputs: readonly { readonly name: string; readonly shape: number[]; readonly data: readonly number[] }[];
}

let ground: ShoalGround;
let cluster: Cluster;
let client: OipClient;
let http: HttpCaller;
beforeAll(async () => {
  ground = await ShoalGround.open();
  cluster = await ground.up();
  client = new OipClient(cluster.grpc);
  http = new HttpCaller(cluster.http);
});
afterAll(async () => {
  client.close();
  http.close();
  await ground.close();
});

async function post(path: string, body: unknown): Promise<HttpBody> {
  const { status, text } = await http.send('POST', path, JSON.stringify(body));
  expect(status, text).toBe(200);
  return JSON.parse(text) as HttpBody;
}

const jsonTensor = (tensor: Tensor) => {
  const { name, datatype, shape } = tensor;
  return { name, datatype, shape, data: elementsOf(tensor) };
};

describe('mnist', () => {
  test('gives the recorded answers over gRPC, many callers at once', async () => {
    const many = Array.from({ length: 20 }, () => mnistVectors).flat();
    const callers = strangers(cluster.grpc, 4);
    await inParallel(many, 16, async ({ inputs, outputs, atol }, i) => {
      const answer = await (callers[i % 4] ?? client).infer(inferRequest('mnist', inputs.map(tensorOf)));
      expect(answer).toMatchObject({ model: 'mnist', version: '1' });
      expect(answer.outputs).toHaveLength(1);
      expectTensor(answer.outputs[0], tensorOf(outputs[0] as RecordedTensor), { atol });
    });
    for (const caller of callers) caller.close();
  });

  test('gives the recorded answers over HTTP', async () => {
    for (const { inputs, outputs, atol } of mnistVectors) {
      const body = await post('/v2/models/mnist/infer', { inputs: inputs.map(tensorOf).map(jsonTensor) });
      const [got] = body.outputs;
      const data = Buffer.from(Float32Array.from(got?.data ?? []).buffer);
      const want = tensorOf(outputs[0] as RecordedTensor);
      expectTensor({ name: got?.name ?? '', datatype: 'FP32', shape: got?.shape ?? [], data }, want, { atol });
    }
  });

  test('takes one request at a time: a second picture in the same request is refused', async () => {
    const [first] = mnistVectors;
    const input = tensorOf(first?.inputs[0] as RecordedTensor);
    const two = { ...input, shape: [2, 1, 28, 28], data: Buffer.concat([input.data, input.data]) };
    await expect(client.infer(inferRequest('mnist', [two]))).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

describe('magika', () => {
  test('gives all recorded labels and scores to a single caller, one file at a time, over gRPC', async () => {
    for (const vector of magika.vectors) {
      const answer = await client.infer(
        inferRequest('magika', [magikaInput(vector)], { parameters: { shoal_timing: true } }),
      );
      expect(answer.version).toBe('2');
      expect(answer.parameters.shoal_batch_rows).toBe(1);
      expectAnswer(scoresOf(answer.outputs[0]), vector, magika.tolerance);
    }
  });

  test('gives all recorded labels and scores to a single caller over HTTP', async () => {
    for (const vector of magika.vectors) {
      const body = await post('/v2/models/magika/infer', { inputs: [jsonTensor(magikaInput(vector))] });
      expect(body).toMatchObject({ model_name: 'magika', model_version: '2' });
      expectAnswer(body.outputs[0]?.data ?? [], vector, magika.tolerance);
    }
  });

  test('gives all of them their labels when many callers of both protocols are batched together', async () => {
    const callers = strangers(cluster.grpc, 6);
    const overHttp = Array.from({ length: 8 }, () => new HttpCaller(cluster.http));
    const batchRows = await inParallel(magika.vectors, 64, async (vector, i) => {
      if (i % 8 === 0) {
        const caller = overHttp[(i / 8) % 8] ?? http;
        const body = JSON.stringify({ inputs: [jsonTensor(magikaInput(vector))], parameters: { shoal_timing: true } });
        const { text } = await caller.send('POST', '/v2/models/magika/infer', body);
        const answer = JSON.parse(text) as HttpBody;
        expectAnswer(answer.outputs[0]?.data ?? [], vector, batchedTolerance);
        return Number(answer.parameters?.shoal_batch_rows);
      }
      const caller = callers[i % 6] ?? client;
      const answer = await caller.infer(
        inferRequest('magika', [magikaInput(vector)], { parameters: { shoal_timing: true } }),
      );
      expectAnswer(scoresOf(answer.outputs[0]), vector, batchedTolerance);
      return Number(answer.parameters.shoal_batch_rows);
    });
    for (const caller of [...callers, ...overHttp]) caller.close();
    // Otherwise the test above has not tested what it says.
    expect(Math.max(...batchRows)).toBeGreaterThan(8);
  });

  test('answers a request of more rows than one batch may have, row for row', async () => {
    const vectors = magika.vectors.slice(0, 100);
    const data = Buffer.concat(vectors.map(({ features }) => features));
    const input: Tensor = { name: 'bytes', datatype: 'INT32', shape: [vectors.length, 2048], data };
    const [output] = (await client.infer(inferRequest('magika', [input]))).outputs;
    expect(output?.shape).toEqual([vectors.length, magikaClasses]);
    const scores = scoresOf(output);
    for (const [row, vector] of vectors.entries()) {
      expectAnswer(scores.slice(row * magikaClasses, (row + 1) * magikaClasses), vector, batchedTolerance);
    }
  });
});

describe('what the caller asks for', () => {
  const [file] = magika.vectors as [MagikaVector];

  test.each(['1', '2'])('version %s is the one that answers, over gRPC and HTTP', async (version) => {
    const answer = await client.infer(inferRequest('magika', [magikaInput(file)], { version }));
    expect(answer.version).toBe(version);
    const body = await post(`/v2/models/magika/versions/${version}/infer`, {
      inputs: [jsonTensor(magikaInput(file))],
    });
    expect(body.model_version).toBe(version);
    const scores = scoresOf(answer.outputs[0]);
    // The two versions were trained apart: were they mixed up, the scores would tell.
    expect(scores.map((score) => score.toFixed(5))).toEqual(body.outputs[0]?.data.map((score) => score.toFixed(5)));
    const other = await client.infer(
      inferRequest('magika', [magikaInput(file)], { version: version === '1' ? '2' : '1' }),
    );
    expect(scoresOf(other.outputs[0])).not.toEqual(scores);
  });

  test('the id comes back, whatever characters it has', async () => {
    for (const id of ['call-7', '', 'ключ 鍵 🔑 "\\\n', 'x'.repeat(10_000)]) {
      const answer = await client.infer(inferRequest('magika', [magikaInput(file)], { id }));
      expect(answer.id).toBe(id);
      const body = await post('/v2/models/magika/infer', { id, inputs: [jsonTensor(magikaInput(file))] });
      expect(body.id ?? '').toBe(id);
    }
  });

  test('only the outputs asked for come, and asking by name gives the same as asking for all', async () => {
    const all = await client.infer(inferRequest('magika', [magikaInput(file)]));
    const named = await client.infer(
      inferRequest('magika', [magikaInput(file)], { outputs: [{ name: 'target_label', parameters: {} }] }),
    );
    expect(all.outputs.map(({ name }) => name)).toEqual(['target_label']);
    expectTensor(named.outputs[0], all.outputs[0] as Tensor, { atol: 1e-6 });
  });

  test('metadata is that of the model, over gRPC and HTTP', async () => {
    const metadata = await client.modelMetadata('magika');
    expect(metadata).toMatchObject({
      name: 'magika',
      versions: ['1', '2'],
      inputs: [{ name: 'bytes', datatype: 'INT32', shape: [-1, 2048] }],
      outputs: [{ name: 'target_label', datatype: 'FP32', shape: [-1, magikaClasses] }],
    });
    const { text } = await http.send('GET', '/v2/models/magika');
    expect(JSON.parse(text)).toEqual(metadata);
  });
});
