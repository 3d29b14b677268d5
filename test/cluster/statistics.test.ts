import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Tensor } from '../../core/tensor.js';
import { OipClient } from '../../platform/oip/client.js';
import type { ModelStatisticsResponse } from '../../platform/oip/statistics.js';
import { inferRequest } from '../support/oip-callers.js';
import { probeRepository } from '../support/probe-repository.js';
import { ShoalGround } from '../support/shoal-ground.js';

let ground: ShoalGround;
beforeEach(async () => {
  ground = await ShoalGround.open();
});
afterEach(() => ground.close());

const rowsOf = (rows: number): Tensor => ({
  name: 'x',
  datatype: 'FP32',
  shape: [rows, 4],
  data: new Uint8Array(new Float32Array(rows * 4).buffer),
});

test('a served model has the statistics of what was asked of it, over both doors', async () => {
  const models = await probeRepository(`${ground.folder}/models`, ['affine'], ['mnist']);
  const cluster = await ground.up({ models });
  const client = new OipClient(cluster.grpc);
  for (const rows of [3, 3, 5]) await client.infer(inferRequest('affine', [rowsOf(rows)]));
  await expect(client.infer(inferRequest('affine', [{ ...rowsOf(1), shape: [1, 3] }]))).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
  });

  const [found] = await client.modelStatistics('affine');
  expect(found).toMatchObject({
    name: 'affine',
    version: '1',
    inference_count: 11,
    execution_count: 3,
    inference_stats: { success: { count: 3 }, fail: { count: 1 }, queue: { count: 3 }, compute_infer: { count: 3 } },
    batch_stats: [
      { batch_size: 3, compute_infer: { count: 2 } },
      { batch_size: 5, compute_infer: { count: 1 } },
    ],
  });
  const { success, queue, compute_input, compute_infer, compute_output } = found?.inference_stats ?? {};
  const parts = [queue, compute_input, compute_infer, compute_output].map((part) => part?.ns ?? 0);
  for (const ns of parts) expect(ns).toBeGreaterThan(0);
  expect(success?.ns).toBeGreaterThan(Math.max(...parts));
  const byBatch = found?.batch_stats.reduce((sum, one) => sum + one.compute_infer.ns, 0);
  expect(Math.abs((byBatch ?? 0) - (compute_infer?.ns ?? 0))).toBeLessThan(10);

  const get = async (path: string) => {
    const response = await fetch(`http://${cluster.http}${path}`);
    return { status: response.status, body: (await response.json()) as ModelStatisticsResponse };
  };
  expect(await get('/v2/models/affine/versions/1/stats')).toMatchObject({
    status: 200,
    body: { model_stats: [{ inference_stats: found?.inference_stats, batch_stats: found?.batch_stats }] },
  });
  const all = await get('/v2/models/stats');
  expect(all.body.model_stats.map(({ name, inference_count }) => [name, inference_count])).toEqual([
    ['affine', 11],
    ['mnist', 0],
  ]);
  expect(await get('/v2/models/nobody/stats')).toMatchObject({ status: 404, body: { code: 'MODEL_NOT_FOUND' } });
  await expect(client.modelStatistics('affine', '9')).rejects.toMatchObject({ code: 'VERSION_NOT_FOUND' });
  client.close();
});
