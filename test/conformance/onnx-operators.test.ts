import { copyFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Datatype } from '../../core/datatype.js';
import { elementCount, type Tensor } from '../../core/tensor.js';
import { AdminClient } from '../../platform/admin/client.js';
import { OipClient } from '../../platform/oip/client.js';
import { decodeInferResponse } from '../../platform/oip/response.js';
import { HttpCaller } from '../support/http-caller.js';
import { inferRequest } from '../support/oip-callers.js';
import {
  bytesOfElements,
  type Element,
  elementsOf,
  expectTensor,
  operatorModel,
  operatorVectors,
  tensorOf,
} from '../support/recorded-vectors.js';
import { type Cluster, ShoalGround } from '../support/shoal-ground.js';
import { serialise } from '../unit/oip/generated.js';

/** Served side by side by one cluster; all 64 at once would only be slower to start. */
const groupSize = 16;
const groups = Array.from({ length: Math.ceil(operatorVectors.length / groupSize) }, (_, index) => ({
  from: index * groupSize + 1,
  vectors: operatorVectors.slice(index * groupSize, (index + 1) * groupSize),
}));

/** Field of InferTensorContents; FP16 and BF16 have none. */
const contentsField: Partial<Record<Datatype, string>> = {
  BOOL: 'bool_contents',
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  UINT8: 'uint_contents',
  UINT16: 'uint_contents',
  UINT32: 'uint_contents',
  UINT64: 'uint64_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
  BYTES: 'bytes_contents',
};

describe.each(groups)("ONNX's own operator tests from number $from", ({ vectors }) => {
  let ground: ShoalGround;
  let cluster: Cluster;
  let client: OipClient;
  let http: HttpCaller;
  beforeAll(async () => {
    ground = await ShoalGround.open();
    const models = path.join(ground.folder, 'models');
    for (const { model } of vectors) {
      await mkdir(path.join(models, model, '1'), { recursive: true });
      await copyFile(operatorModel(model), path.join(models, model, '1/model.onnx'));
    }
    cluster = await ground.up({ models });
    client = new OipClient(cluster.grpc);
    http = new HttpCaller(cluster.http);
  });
  afterAll(async () => {
    client.close();
    http.close();
    await ground.close();
  });

  test('are all ready', async () => {
    const admin = new AdminClient(cluster.grpc);
    const listed = await admin.listModels();
    admin.close();
    const unready = listed.filter(({ state }) => state !== 'ready').map(({ model, reason }) => `${model}: ${reason}`);
    expect(unready).toEqual([]);
    expect(listed).toHaveLength(vectors.length);
  });

  describe.each(vectors)('$model', ({ model, inputs, outputs, atol, rtol }) => {
    const tensors = inputs.map(tensorOf);

    function expectOutputs(got: readonly Tensor[]): void {
      expect(got.map(({ name }) => name)).toEqual(outputs.map(({ name }) => name));
      for (const [index, output] of outputs.entries()) expectTensor(got[index], tensorOf(output), { atol, rtol });
    }

    test('over gRPC, raw', async () => {
      expectOutputs((await client.infer(inferRequest(model, tensors))).outputs);
    });

    test('over gRPC, typed; FP16 has no typed contents and is told so', async () => {
      const message = serialise('ModelInferRequest', {
        model_name: model,
        inputs: tensors.map((tensor) => {
          const { name, datatype, shape } = tensor;
          const field = contentsField[datatype];
          return { name, datatype, shape, contents: field === undefined ? {} : { [field]: typedElements(tensor) } };
        }),
      });
      const answer = client.inferEncoded(message);
      const half = inputs.find(({ datatype, shape }) => datatype === 'FP16' && elementCount(shape) > 0);
      if (half === undefined) {
        expectOutputs(decodeInferResponse(await answer).outputs);
      } else {
        const sentence = expect.stringMatching(new RegExp(`^Input '${half.name}' .*FP16`));
        await expect(answer).rejects.toMatchObject({ code: 'INVALID_REQUEST', message: sentence });
      }
    });

    test('over HTTP, JSON', async () => {
      const body = {
        inputs: tensors.map((tensor) => {
          const { name, datatype, shape } = tensor;
          return { name, datatype, shape, data: elementsOf(tensor).map(toJson) };
        }),
      };
      const { status, text } = await http.send('POST', `/v2/models/${model}/infer`, JSON.stringify(body));
      expect(status, text).toBe(200);
      expectOutputs(jsonOutputs(text));
    });
  });
});

test('every datatype that the Node binding of ONNX Runtime can carry occurs among them', () => {
  const used = new Set(operatorVectors.flatMap(({ inputs }) => inputs.map(({ datatype }) => datatype)));
  expect([...used].sort()).toEqual([...Object.keys(contentsField), 'FP16'].sort());
});

/** As protobufjs takes them: byte strings as bytes, 64-bit integers as decimal strings. */
const typedElements = (tensor: Tensor): unknown[] =>
  elementsOf(tensor).map((element) => {
    if (typeof element === 'bigint') return element.toString();
    return tensor.datatype === 'BYTES' ? Buffer.from(String(element)) : element;
  });

/** As OIP over HTTP takes them. */
function toJson(element: Element): unknown {
  if (typeof element === 'bigint') return element.toString();
  return typeof element === 'number' && !Number.isFinite(element) ? String(element) : element;
}

/** 64-bit integers come with all their digits, which `JSON.parse` would round: the long ones are quoted first. */
function jsonOutputs(text: string): Tensor[] {
  const exact = text.replace(/(?<=[[,])-?\d{16,}(?=[,\]])/g, '"$&"');
  const { outputs } = JSON.parse(exact) as {
    outputs: { name: string; datatype: Datatype; shape: number[]; data: (number | string | boolean)[] }[];
  };
  return outputs.map(({ name, datatype, shape, data }) => {
    return { name, datatype, shape, data: bytesOfElements(datatype, data) };
  });
}
