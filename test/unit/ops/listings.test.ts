import { describe, expect, test } from 'vitest';
import { naturalBatching } from '../../../core/model.js';
import { clusterBanner, workerBanner } from '../../../ops/banner.js';
import { modelsText } from '../../../ops/commands/models.js';
import { workersText } from '../../../ops/commands/workers.js';
import type { ModelState, RunningCluster, RunningWorker } from '../../../ops/running-cluster.js';
import { bundledModels } from '../../../ops/setting-options.js';
import type { ListedModelVersion, ListedWorker } from '../../../platform/admin/listing.js';
import { packageRoot } from '../../../platform/package-root.js';
import { resolveSettings } from '../../../platform/settings/resolve.js';

const spec = {
  platform: 'onnxruntime_onnx',
  maxBatchSize: 64,
  inputs: [],
  outputs: [],
  ...naturalBatching,
  levelPolicies: [],
  buckets: null,
  resources: [],
  deviceWeight: 1,
  labels: [],
};

const versions: readonly ListedModelVersion[] = [
  {
    model: 'magika',
    version: '2',
    state: 'ready',
    reason: '',
    workers: ['w1', 'w2'],
    queuedRows: 12,
    queuedRequests: 3,
    spec,
  },
  {
    model: 'mnist',
    version: '1',
    state: 'ready',
    reason: '',
    workers: ['w1'],
    queuedRows: 0,
    queuedRequests: 0,
    spec: { ...spec, maxBatchSize: 0 },
  },
  {
    model: 'old',
    version: '1',
    state: 'unavailable',
    reason: 'Opset 1 is not supported.',
    workers: [],
    queuedRows: 0,
    queuedRequests: 0,
    spec: null,
  },
];

const instance = (id: string, device: string) =>
  ({ id, device, state: 'idle', reason: '', pid: 41, restarts: 2 }) as const;
const held = { model: 'magika', version: '2', state: 'ready', reason: '', slots: 1 } as const;
const info = { devices: ['gpu:0', 'cpu'], softwareVersion: '0.1.0', pid: 40, host: 'reef', pipelineDepth: 1 };
const workers: readonly ListedWorker[] = [
  {
    workerId: 'w1',
    address: '10.0.0.2:7001',
    state: 'connected',
    reason: '',
    batchesInFlight: 3,
    versions: [{ ...held, instances: [instance('w1:magika/2#0', 'gpu:0'), instance('w1:magika/2#1', 'cpu')] }],
    info,
  },
  {
    workerId: 'w2',
    address: '10.0.0.3:7001',
    state: 'lost',
    reason: 'It hung up.',
    batchesInFlight: 0,
    versions: [],
    info: null,
  },
];

describe('tables for operators', () => {
  test('models', () => {
    expect(modelsText(versions, workers)).toBe(
      [
        'MODEL   VERSION  STATE        BATCH  QUEUE  INSTANCES           REASON',
        'magika  2        ready           64     12  w1: 1 gpu:0, 1 cpu',
        'mnist   1        ready         none      0  -',
        'old     1        unavailable      -      0  -                   Opset 1 is not supported.',
      ].join('\n'),
    );
    expect(modelsText([], workers)).toBe('No models: the workers hold none.');
    expect(modelsText([], [])).toBe('No models: no worker has joined yet.');
  });

  test('many workers are counted', () => {
    const many = Array.from({ length: 5 }, (_, i) => ({ ...workers[0], workerId: `w${i}` })) as ListedWorker[];
    expect(modelsText(versions.slice(0, 1), many)).toContain('10 on 5 workers');
  });

  test('workers and their executors', () => {
    expect(workersText(workers)).toBe(
      [
        'WORKER  STATE      ADDRESS        DEVICES    IN FLIGHT  PID  VERSION  REASON',
        'w1      connected  10.0.0.2:7001  gpu:0,cpu          3   40  0.1.0',
        'w2      lost       10.0.0.3:7001  -                  0    -  -        It hung up.',
        '',
        'WORKER  MODEL   VERSION  INSTANCE       DEVICE  STATE  PID  RESTARTS  REASON',
        'w1      magika  2        w1:magika/2#0  gpu:0   idle    41         2',
        'w1      magika  2        w1:magika/2#1  cpu     idle    41         2',
      ].join('\n'),
    );
    expect(workersText([])).toContain('shoal worker --join');
    expect(workersText(workers.slice(1))).toContain('No executor runs.');
  });
});

describe('banners', () => {
  const settings = resolveSettings({
    flags: {},
    environment: {},
    file: undefined,
    facts: {
      role: 'up',
      workingFolder: packageRoot,
      bundledModels,
      hostName: 'reef',
      address: '10.0.0.2',
      pid: 7,
      memoryFolder: '/dev/shm',
    },
  });
  const states: readonly ModelState[] = [
    { model: 'mnist', version: '1', state: 'ready', reason: '' },
    { model: 'old', version: '1', state: 'unavailable', reason: 'Opset 1 is not supported.' },
  ];
  const running = (models: readonly ModelState[], grpcAddress = '127.0.0.1:8001'): RunningCluster => ({
    models: () => models,
    ready: Promise.resolve(),
    drain: () => Promise.resolve(),
    grpcAddress,
    httpAddress: '127.0.0.1:8000',
    metricsAddress: '127.0.0.1:8002',
  });

  test('a cluster of the bundled models: endpoints, states with reasons, three commands for this folder', () => {
    expect(clusterBanner(running(states), true, settings, packageRoot).trim().split('\n')).toEqual([
      'Shoal serves: 1 model version ready, 1 not ready.',
      '',
      '  gRPC     127.0.0.1:8001',
      '  HTTP     http://127.0.0.1:8000',
      '  metrics  http://127.0.0.1:8002/metrics',
      '',
      '  MODEL  VERSION  STATE        REASON',
      '  mnist  1        ready',
      '  old    1        unavailable  Opset 1 is not supported.',
      '',
      'Try, in another terminal:',
      '  npx shoal infer mnist --input examples/inputs/mnist/five.png',
      '  curl -s http://127.0.0.1:8000/v2/models/mnist/infer --json @examples/inputs/mnist/five.json',
      '  npx shoal bench magika --concurrency 8 --duration 5s',
      '',
      'Ctrl-C drains and stops.',
    ]);
  });

  test('other ports are dialled, 0.0.0.0 is not, other models are named', () => {
    const own = { ...settings, models: '/srv/models' };
    const states = [{ model: 'mine', version: '1', state: 'ready', reason: '' }] as const;
    const text = clusterBanner(running(states, '0.0.0.0:9001'), false, own, packageRoot);
    expect(text).toContain('1 model version ready so far.');
    expect(text).toContain('npx shoal infer mine --input FILE --server 127.0.0.1:9001');
  });

  test('a coordinator without workers says how to add one', () => {
    const text = clusterBanner(running([], '0.0.0.0:8001'), true, settings, packageRoot);
    expect(text).toContain('Shoal waits for workers with models.');
    expect(text).toContain('  npx shoal worker --join 127.0.0.1:8001 --models DIR');
  });

  test('a worker says whom it serves', () => {
    const worker: RunningWorker = { ...running(states), workerId: 'w1', linkAddress: '10.0.0.2:7001' };
    const joined = workerBanner(worker, true, { ...settings, join: ['a:8001', 'b:8001'] });
    expect(joined).toContain('Worker w1 serves a:8001, b:8001: 1 model version ready, 1 not ready.');
    expect(joined).toContain('  link     10.0.0.2:7001');
    expect(workerBanner(worker, true, settings)).toContain('Worker w1 waits for coordinators');
  });
});
