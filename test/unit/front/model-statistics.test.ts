import { expect, test } from 'vitest';
import { FleetStatistics } from '../../../coordinator/front/model-statistics.js';
import { wallClockMs } from '../../../core/clock.js';
import { ShoalError } from '../../../core/errors.js';
import type { TimingReceipt } from '../../../core/inference.js';
import { ServingMetrics } from '../../../platform/telemetry/metrics.js';

const receiptOf = (batchRows: number, executeUs: number, paddedRows = 0): TimingReceipt => ({
  queueUs: 70,
  batchWaitUs: 30,
  inputUs: 8,
  executeUs,
  outputUs: 4,
  batchRows,
  paddedRows,
  version: '1',
  worker: 'w1',
  instance: 'cpu-0',
  attempt: 1,
});

function setUp() {
  const metrics = new ServingMetrics({ processMetrics: false });
  const statistics = new FleetStatistics(
    {
      versions: () => [
        { model: 'a', version: '1' },
        { model: 'a', version: '2' },
        { model: 'b', version: '1' },
      ],
      modelReady: (model, version) => {
        throw new ShoalError(model === 'a' ? 'VERSION_NOT_FOUND' : 'MODEL_NOT_FOUND', `No ${model} ${version}.`);
      },
    },
    metrics,
  );
  return { metrics, statistics };
}

const zero = { count: 0, ns: 0 };

test('sums over requests, and over batches by their size', () => {
  const { metrics, statistics } = setUp();
  const beforeMs = wallClockMs();
  // A batch of three requests, one of a single one filled up with three empty rows, and a failure.
  metrics.dispatched('a', '1', 6, 3, 'full');
  for (const rows of [1, 2, 3]) metrics.answered('a', '1', rows, 1500, receiptOf(6, 900));
  metrics.dispatched('a', '1', 4, 1, 'idle');
  metrics.answered('a', '1', 1, 500, receiptOf(1, 300, 3));
  metrics.failed('a', '1', 'DEADLINE_EXPIRED', 250);
  const [found] = statistics.modelStatistics('a', '1');
  expect(found).toEqual({
    name: 'a',
    version: '1',
    last_inference: expect.any(Number),
    inference_count: 7,
    execution_count: 2,
    inference_stats: {
      success: { count: 4, ns: 5_000_000 },
      fail: { count: 1, ns: 250_000 },
      queue: { count: 4, ns: 400_000 },
      compute_input: { count: 4, ns: 32_000 },
      compute_infer: { count: 4, ns: 3_000_000 },
      compute_output: { count: 4, ns: 16_000 },
      cache_hit: zero,
      cache_miss: zero,
    },
    batch_stats: [
      {
        batch_size: 4,
        compute_input: { count: 1, ns: 8_000 },
        compute_infer: { count: 1, ns: 300_000 },
        compute_output: { count: 1, ns: 4_000 },
      },
      {
        batch_size: 6,
        compute_input: { count: 1, ns: 8_000 },
        compute_infer: { count: 1, ns: 900_000 },
        compute_output: { count: 1, ns: 4_000 },
      },
    ],
  });
  expect(found?.last_inference).toBeGreaterThanOrEqual(beforeMs - 1);
  expect(found?.last_inference).toBeLessThanOrEqual(wallClockMs() + 1);
});

test('many requests of odd sizes still make whole batches', () => {
  const { metrics, statistics } = setUp();
  for (let batch = 0; batch < 1000; batch++) {
    for (const rows of [1, 1, 5]) metrics.answered('a', '1', rows, 10, receiptOf(7, 1000));
  }
  expect(statistics.modelStatistics('a', '1')[0]?.batch_stats).toMatchObject([
    { batch_size: 7, compute_infer: { count: 1000, ns: 1_000_000_000 } },
  ]);
});

test('a version nobody has asked for has zeros; what is unknown is refused as elsewhere', () => {
  const { metrics, statistics } = setUp();
  metrics.answered('a', '2', 1, 10, receiptOf(1, 5));
  const names = (model: string, version: string) =>
    statistics.modelStatistics(model, version).map((one) => [one.name, one.version, one.inference_count]);
  expect(names('', '')).toEqual([
    ['a', '1', 0],
    ['a', '2', 1],
    ['b', '1', 0],
  ]);
  expect(names('a', '')).toHaveLength(2);
  expect(statistics.modelStatistics('b', '')[0]).toMatchObject({ last_inference: 0, batch_stats: [] });
  expect(() => statistics.modelStatistics('c', '')).toThrow(expect.objectContaining({ code: 'MODEL_NOT_FOUND' }));
  expect(() => statistics.modelStatistics('a', '7')).toThrow(expect.objectContaining({ code: 'VERSION_NOT_FOUND' }));
});

test('numbers by batch size are bounded', () => {
  const { metrics, statistics } = setUp();
  for (let rows = 1; rows <= 1000; rows++) metrics.answered('a', '1', rows, 10, receiptOf(rows, 5));
  const [found] = statistics.modelStatistics('a', '1');
  expect(found?.batch_stats).toHaveLength(256);
  expect(found?.inference_stats.success.count).toBe(1000);
});
