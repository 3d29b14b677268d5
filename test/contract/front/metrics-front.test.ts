import { afterEach, beforeEach, expect, test } from 'vitest';
import { ServingMetrics } from '../../../platform/telemetry/metrics.js';
import { MetricsFront } from '../../../platform/telemetry/metrics-front.js';
import { keepingLogger, receipt } from './scripted-service.js';

let metrics: ServingMetrics;
let front: MetricsFront;
let port: number;
let url: string;

beforeEach(async () => {
  metrics = new ServingMetrics();
  front = new MetricsFront({ metrics, logger: keepingLogger().logger, host: '127.0.0.1', port: 0 });
  ({ port } = await front.start());
  url = `http://127.0.0.1:${port}`;
});

afterEach(() => front.stop());

test('a scrape shows what was observed, and the process', async () => {
  metrics.answered('m', '1', 2, 1500, receipt);
  const response = await fetch(`${url}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  expect(text).toContain('# TYPE nv_inference_count counter\nnv_inference_count{model="m",version="1"} 2\n');
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
});

test('a view that breaks costs one scrape, not the server', async () => {
  metrics.watchFleet({
    versions: () => {
      throw new TypeError('broken view');
    },
    workers: () => [],
  });
  expect((await fetch(`${url}/metrics`)).status).toBe(500);
  metrics.watchFleet({ versions: () => [], workers: () => [] });
  expect((await fetch(`${url}/metrics`)).status).toBe(200);
});

test('healthz, other paths and other methods', async () => {
  expect(await (await fetch(`${url}/healthz`)).text()).toBe('ok\n');
  expect((await fetch(`${url}/elsewhere`)).status).toBe(404);
  expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405);
  const head = await fetch(`${url}/metrics`, { method: 'HEAD' });
  expect(head.status).toBe(200);
  expect(await head.text()).toBe('');
});

test('a port that is taken is a bad setting that names port and flag', async () => {
  const second = new MetricsFront({ metrics, logger: keepingLogger().logger, host: '127.0.0.1', port });
  await expect(second.start()).rejects.toMatchObject({
    code: 'BAD_SETTING',
    message: expect.stringContaining(`port ${port} on 127.0.0.1 (--metrics-port)`),
  });
});
