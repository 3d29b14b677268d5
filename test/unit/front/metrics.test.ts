import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { ServingObserver } from '../../../coordinator/serving.js';
import type { TimingReceipt } from '../../../core/inference.js';
import type { InstanceStatus, VersionStatus } from '../../../core/model.js';
import type { FleetView } from '../../../platform/telemetry/fleet-metrics.js';
import { ServingMetrics } from '../../../platform/telemetry/metrics.js';
import { WorkerMetrics } from '../../../platform/telemetry/worker-metrics.js';

const receipt: TimingReceipt = {
  queueUs: 250,
  batchWaitUs: 50,
  inputUs: 20,
  executeUs: 900,
  outputUs: 10,
  batchRows: 8,
  paddedRows: 0,
  version: '1',
  worker: 'w1',
  instance: 'cpu-0',
  attempt: 1,
};

/** `name{labels}` → value, labels in the order they are exposed. */
async function scrape(metrics: ServingMetrics): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

test('the counters are sums over requests and the histograms are cumulative', async () => {
  const metrics = new ServingMetrics({ processMetrics: false });
  const observer: ServingObserver = metrics;
  observer.answered('m', '1', 2, 1500, receipt);
  observer.answered('m', '1', 3, 40, receipt);
  observer.dispatched('m', '1', 5, 2, 'full');
  observer.dispatched('m', '1', 2000, 1, 'idle');
  observer.retried('m', '1');
  observer.failed('m', '1', 'QUEUE_FULL', 10);
  const found = await scrape(metrics);
  const at = 'model="m",version="1"';
  expect(found.get(`nv_inference_request_success{${at}}`)).toBe(2);
  expect(found.get(`nv_inference_count{${at}}`)).toBe(5);
  expect(found.get(`nv_inference_exec_count{${at}}`)).toBe(2);
  expect(found.get(`nv_inference_request_duration_us{${at}}`)).toBe(1540);
  expect(found.get(`nv_inference_queue_duration_us{${at}}`)).toBe(600);
  expect(found.get(`nv_inference_compute_input_duration_us{${at}}`)).toBe(40);
  expect(found.get(`nv_inference_compute_infer_duration_us{${at}}`)).toBe(1800);
  expect(found.get(`nv_inference_compute_output_duration_us{${at}}`)).toBe(20);
  expect(found.get(`nv_inference_request_failure{${at},reason="REJECTED",code="QUEUE_FULL"}`)).toBe(1);
  expect(found.get(`shoal_request_latency_seconds_bucket{${at},le="0.00005"}`)).toBe(1);
  expect(found.get(`shoal_request_latency_seconds_bucket{${at},le="0.001"}`)).toBe(1);
  expect(found.get(`shoal_request_latency_seconds_bucket{${at},le="0.0025"}`)).toBe(2);
  expect(found.get(`shoal_request_latency_seconds_bucket{${at},le="+Inf"}`)).toBe(2);
  expect(found.get(`shoal_request_latency_seconds_sum{${at}}`)).toBeCloseTo(0.00154, 9);
  expect(found.get(`shoal_queue_wait_seconds_count{${at}}`)).toBe(2);
  expect(found.get(`shoal_batch_rows_bucket{${at},le="4"}`)).toBe(0);
  expect(found.get(`shoal_batch_rows_bucket{${at},le="1024"}`)).toBe(1);
  expect(found.get(`shoal_batch_rows_bucket{${at},le="+Inf"}`)).toBe(2);
  expect(found.get(`shoal_batches_total{${at},reason="full"}`)).toBe(1);
  expect(found.get(`shoal_retries_total{${at}}`)).toBe(1);
});

test('names that callers invent make no series', async () => {
  const metrics = new ServingMetrics({ processMetrics: false });
  metrics.answered('real', '1', 1, 100, receipt);
  for (let i = 0; i < 1000; i++) {
    metrics.failed(`garbage-${i}`, '', 'MODEL_NOT_FOUND', 1);
    metrics.failed(`garbage-${i}`, `${i}`, 'VERSION_NOT_FOUND', 1);
    metrics.failed('real', `${i + 10}`, 'VERSION_NOT_FOUND', 1);
    metrics.failed(`garbage-${i}`, '', 'INVALID_REQUEST', 1);
  }
  const failures = [...(await scrape(metrics))].filter(([key]) => key.startsWith('nv_inference_request_failure'));
  expect(Object.fromEntries(failures)).toEqual({
    'nv_inference_request_failure{model="",version="",reason="OTHER",code="MODEL_NOT_FOUND"}': 1000,
    'nv_inference_request_failure{model="",version="",reason="OTHER",code="VERSION_NOT_FOUND"}': 1000,
    'nv_inference_request_failure{model="",version="",reason="OTHER",code="INVALID_REQUEST"}': 1000,
    'nv_inference_request_failure{model="real",version="",reason="OTHER",code="VERSION_NOT_FOUND"}': 1000,
  });
});

test('past the limit of series the rest are counted together', async () => {
  const metrics = new ServingMetrics({ processMetrics: false, seriesLimit: 3 });
  for (let i = 0; i < 10; i++) metrics.answered('m', `${i}`, 1, 100, receipt);
  const successes = [...(await scrape(metrics))].filter(([key]) => key.startsWith('nv_inference_request_success'));
  expect(successes).toHaveLength(4);
  expect(Object.fromEntries(successes)['nv_inference_request_success{model="",version=""}']).toBe(7);
});

const instance = (id: string, state: InstanceStatus['state'], restarts: number): InstanceStatus => ({
  id,
  device: 'cpu',
  state,
  reason: '',
  pid: 1,
  restarts,
});

function fleetOf(workers: Record<string, readonly InstanceStatus[]>): FleetView {
  return {
    versions: () => [{ model: 'm', version: '1', state: 'ready', queuedRows: 12, queuedRequests: 5 }],
    workers: () =>
      Object.entries(workers).map(([workerId, instances]) => ({
        workerId,
        state: 'connected',
        versions: [
          { model: 'm', version: '1', state: 'ready', reason: '', spec: undefined, slots: 1, instances, profiles: {} },
        ],
      })),
  };
}

test('the gauges show the fleet as it is at the scrape, states without a member included', async () => {
  const metrics = new ServingMetrics({ processMetrics: false });
  expect((await scrape(metrics)).get('shoal_workers{state="connected"}')).toBe(0);
  metrics.watchFleet(fleetOf({ w1: [instance('a', 'busy', 0), instance('b', 'backoff', 2)] }));
  const found = await scrape(metrics);
  expect(found.get('shoal_workers{state="connected"}')).toBe(1);
  expect(found.get('shoal_workers{state="lost"}')).toBe(0);
  expect(found.get('shoal_instances{state="busy"}')).toBe(1);
  expect(found.get('shoal_instances{state="idle"}')).toBe(0);
  expect(found.get('shoal_versions{state="ready"}')).toBe(1);
  expect(found.get('shoal_queue_rows{model="m",version="1"}')).toBe(12);
  expect(found.get('nv_inference_pending_request_count{model="m",version="1"}')).toBe(5);
});

test('restarts are never counted down when a worker leaves or starts anew', async () => {
  const metrics = new ServingMetrics({ processMetrics: false });
  const restarts = async (view: FleetView) => {
    metrics.watchFleet(view);
    return (await scrape(metrics)).get('shoal_executor_restarts_total{model="m",version="1"}');
  };
  expect(await restarts(fleetOf({ w1: [instance('a', 'idle', 2)] }))).toBe(2);
  expect(await restarts(fleetOf({ w1: [instance('a', 'idle', 3)], w2: [instance('a', 'idle', 1)] }))).toBe(4);
  expect(await restarts(fleetOf({ w2: [instance('a', 'idle', 1)] }))).toBe(4);
  expect(await restarts(fleetOf({ w1: [instance('a', 'idle', 1)], w2: [instance('a', 'idle', 1)] }))).toBe(5);
});

test("a worker's profiles are gauges, in seconds, by device class and rows", async () => {
  const info = { workerId: 'w', devices: ['cpu'], softwareVersion: '0', pid: 1, host: 'h', pipelineDepth: 1 };
  const status: VersionStatus = {
    model: 'm',
    version: '1',
    state: 'ready',
    reason: '',
    spec: undefined,
    slots: 1,
    instances: [],
    profiles: { cpu: [{ rows: 1, ms: 2 }], cuda: [{ rows: 64, ms: 0.5 }] },
  };
  const text = await new WorkerMetrics({ info, statuses: () => [status] }).text();
  expect(text.match(/^shoal_execution_profile_seconds.*$/gm)).toEqual([
    'shoal_execution_profile_seconds{model="m",version="1",device_class="cpu",rows="1"} 0.002',
    'shoal_execution_profile_seconds{model="m",version="1",device_class="cuda",rows="64"} 0.0005',
  ]);
});

test('docs/METRICS.md lists every metric with its type, and none that is gone', () => {
  const text = readFileSync(new URL('../../../docs/METRICS.md', import.meta.url), 'utf8');
  const documented = [...text.matchAll(/^\| `([a-z0-9_]+)` +\| (counter|gauge|histogram|summary) +\|/gm)].map(
    ([, name, type]) => `${name} ${type}`,
  );
  const info = { workerId: 'w', devices: [], softwareVersion: '0', pid: 1, host: 'h', pipelineDepth: 1 };
  const registries = [new ServingMetrics().registry, new WorkerMetrics({ info, statuses: () => [] }).registry];
  const registered = new Set(
    registries.flatMap((registry) => registry.getMetricsAsArray().map(({ name, type }) => `${name} ${String(type)}`)),
  );
  expect(documented.toSorted()).toEqual([...registered].toSorted());
});
