import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import {
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath as healthProto } from 'grpc-health-check';
import protobuf from 'protobufjs';
import { ShoalError } from '../../../core/errors.js';
import { naturalBatching, openQueue, type QueuePolicy, type SequenceBuckets } from '../../../core/model.js';
import 'protobufjs/ext/descriptor/index.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { adminGrpcService } from '../../../coordinator/admin/admin-service.js';
import { GrpcFront } from '../../../coordinator/front/grpc-front.js';
import type { AdminView, VersionView, WorkerView } from '../../../coordinator/serving.js';
import { systemClock } from '../../../core/clock.js';
import { AdminClient } from '../../../platform/admin/client.js';
import type { ListedExplanation } from '../../../platform/admin/explanation.js';
import { echoSpec, keepingLogger, ScriptedService } from './scripted-service.js';

const delaying: QueuePolicy = { timeoutUs: 7000, timeoutAction: 'delay', allowTimeoutOverride: true, maxRequests: 5 };
const buckets: SequenceBuckets = {
  lengths: [64, 256],
  inputs: [{ tensor: 'x', axis: 1, padValue: -0.5 }],
  outputs: [{ tensor: 'y', axis: 2, padValue: 0 }],
};

const versions: VersionView[] = [
  {
    model: 'echo',
    version: '2',
    state: 'ready',
    reason: '',
    spec: {
      ...echoSpec,
      batching: {
        ...naturalBatching,
        maxQueueDelayUs: 500,
        preferredRows: [4, 8],
        priorityLevels: 2,
        defaultPriorityLevel: 1,
        priorityMode: 'strict',
        queuePolicyByLevel: { 2: delaying },
        fixedRows: [4, 8],
      },
      buckets,
      resources: [{ name: 'link', count: 2, global: true }],
      deviceWeight: 0.25,
    },
    workers: ['w1'],
    queuedRows: 17,
    queuedRequests: 17,
    lost: { shape: 3, version: 2, priority: 1 },
  },
  {
    model: 'broken',
    version: '1',
    state: 'unavailable',
    reason: 'The model file is not ONNX.',
    spec: undefined,
    workers: ['w1', 'w2'],
    queuedRows: 0,
    queuedRequests: 0,
    lost: { shape: 0, version: 0, priority: 0 },
  },
];
const instance = {
  id: 'cpu-0',
  device: 'cpu',
  state: 'backoff',
  reason: 'It was killed.',
  pid: 4711,
  restarts: 3,
} as const;
const listed = {
  model: 'echo',
  version: '2',
  state: 'ready',
  reason: '',
  slots: 1,
  instances: [instance],
} as const;
const held = { ...listed, profiles: {} };
const info = { devices: ['cpu'], softwareVersion: '0.1.0', pid: 99, host: 'here', pipelineDepth: 1 };
const workers: WorkerView[] = [
  {
    workerId: 'w1',
    address: '127.0.0.1:9001',
    state: 'connected',
    reason: '',
    info: { ...info, workerId: 'w1' },
    versions: [{ ...held, spec: echoSpec, profiles: {} }],
    batchesInFlight: 2,
  },
  {
    workerId: 'w2',
    address: '127.0.0.1:9002',
    state: 'lost',
    reason: 'The link was cut.',
    info: undefined,
    versions: [],
    batchesInFlight: 0,
  },
];

const explanation: ListedExplanation = {
  model: 'echo',
  version: '2',
  state: 'ready',
  hint: 'Nothing needs to change.',
  maxBatchSize: 8,
  meanRows: 2.5,
  closes: [{ reason: 'idle', batches: 4, rows: 10 }],
  lostToShape: 1,
  lostToVersion: 2,
  lostToPriority: 3,
  refused: 4,
  shed: 5,
  expired: 6,
  timedOut: 7,
  linkMs: 0.25,
  arrivalsPerS: 12.5,
  profiles: [{ deviceClass: 'cpu', rows: [1, 8], ms: [0.5, 1.25] }],
  workers: [{ workerId: 'w1', device: 'cpu', slots: 2, running: 1, slowness: 1.5 }],
  callers: [{ caller: 'search', level: 1, requests: 2, rows: 3 }],
  shapes: [{ shape: '4,;', requests: 2, rows: 3 }],
};

function explained(model: string): readonly ListedExplanation[] {
  if (model === 'echo') return [explanation];
  throw new ShoalError('MODEL_NOT_FOUND', `There is no model '${model}'.`);
}

let service: ScriptedService;
let view: AdminView;
let front: GrpcFront;
let address: string;
let isDrained: boolean;

beforeEach(async () => {
  service = new ScriptedService();
  view = { versions: () => versions, workers: () => workers, explain: (model) => explained(model) };
  const { logger } = keepingLogger();
  front = new GrpcFront({
    service,
    statistics: service,
    logger,
    softwareVersion: '1.2.3',
    host: '127.0.0.1',
    port: 0,
    extraServices: [
      adminGrpcService(
        {
          versions: () => view.versions(),
          workers: () => view.workers(),
          explain: (model, version) => view.explain(model, version),
        },
        logger,
      ),
    ],
  });
  address = `127.0.0.1:${(await front.start()).port}`;
  isDrained = false;
});

afterEach(async () => {
  if (!isDrained) await front.drain(1000);
});

function clientOf(protoFile: string, serviceName: string): Client & Record<string, (...args: unknown[]) => unknown> {
  let found: unknown = loadPackageDefinition(loadSync(protoFile, { enums: String, longs: Number }));
  for (const part of serviceName.split('.')) found = (found as Record<string, unknown>)[part];
  return new (found as ServiceClientConstructor)(address, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  }) as never;
}

describe('admin', () => {
  test('lists models and workers with states, reasons and instances', async () => {
    const client = new AdminClient(address);
    expect(await client.listModels()).toEqual([
      {
        model: 'echo',
        version: '2',
        state: 'ready',
        reason: '',
        workers: ['w1'],
        queuedRows: 17,
        queuedRequests: 17,
        spec: {
          labels: [],
          platform: 'onnxruntime_onnx',
          maxBatchSize: 8,
          inputs: echoSpec.inputs,
          outputs: echoSpec.outputs,
          maxQueueDelayUs: 500,
          preferredRows: [4, 8],
          preserveOrdering: false,
          priorityLevels: 2,
          defaultPriorityLevel: 1,
          priorityMode: 'strict',
          queuePolicy: openQueue,
          levelPolicies: [{ level: 2, policy: delaying }],
          fixedRows: [4, 8],
          buckets,
          resources: [{ name: 'link', count: 2, global: true }],
          deviceWeight: 0.25,
        },
      },
      {
        model: 'broken',
        version: '1',
        state: 'unavailable',
        reason: 'The model file is not ONNX.',
        workers: ['w1', 'w2'],
        queuedRows: 0,
        queuedRequests: 0,
        spec: null,
      },
    ]);
    expect(await client.listWorkers()).toEqual([
      {
        workerId: 'w1',
        address: '127.0.0.1:9001',
        state: 'connected',
        reason: '',
        info,
        versions: [listed],
        batchesInFlight: 2,
      },
      {
        workerId: 'w2',
        address: '127.0.0.1:9002',
        state: 'lost',
        reason: 'The link was cut.',
        info: null,
        versions: [],
        batchesInFlight: 0,
      },
    ]);
    client.close();
  });

  test('explains a model, and says so when there is none', async () => {
    const client = new AdminClient(address);
    expect(await client.explainModel('echo', '')).toEqual([explanation]);
    await expect(client.explainModel('gone', '')).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: "There is no model 'gone'.",
    });
    client.close();
  });

  test('a view that breaks is an INTERNAL error for the asker', async () => {
    view = {
      versions: () => {
        throw new TypeError('broken view');
      },
      workers: () => [],
      explain: () => [],
    };
    const client = new AdminClient(address);
    await expect(client.listModels()).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.stringMatching(/broken view Incident [0-9a-f]{8}\.$/),
    });
    expect(await client.listWorkers()).toEqual([]);
    client.close();
  });

  test('nobody at the address is COORDINATOR_UNREACHABLE', async () => {
    await front.drain(1000);
    isDrained = true;
    const client = new AdminClient(address);
    await expect(client.listModels()).rejects.toMatchObject({
      code: 'COORDINATOR_UNREACHABLE',
      message: expect.stringContaining(`Cannot reach the coordinator at ${address}: `),
    });
    client.close();
  });
});

describe('health', () => {
  const check = (client: ReturnType<typeof clientOf>, name: string) =>
    new Promise((resolve) => {
      client.Check?.({ service: name }, (error: { code: number } | null, response: { status: string } | undefined) =>
        resolve(error?.code ?? response?.status),
      );
    });

  test('checks ask the service at that moment', async () => {
    const client = clientOf(healthProto, 'grpc.health.v1.Health');
    for (const name of ['', 'inference.GRPCInferenceService']) {
      expect(await check(client, name)).toBe('SERVING');
    }
    service.isReady = false;
    expect(await check(client, '')).toBe('NOT_SERVING');
    expect(await check(client, 'no.such.Service')).toBe(5);
    client.close();
  });

  test('a watcher hears of changes, and does not hold up a drain', async () => {
    const client = clientOf(healthProto, 'grpc.health.v1.Health');
    const watch = client.Watch?.({ service: '' }) as ClientReadableStream<{ status: string }>;
    const heard: string[] = [];
    let ending = 0;
    watch.on('data', ({ status }) => heard.push(status));
    watch.on('error', ({ code }: Error & { code: number }) => {
      ending = code;
    });
    await expect.poll(() => heard).toEqual(['SERVING']);
    service.isReady = false;
    await expect.poll(() => heard).toEqual(['SERVING', 'NOT_SERVING']);
    service.isReady = true;
    await expect.poll(() => heard).toEqual(['SERVING', 'NOT_SERVING', 'SERVING']);
    const startedMs = systemClock.nowMs();
    await front.drain(30_000);
    isDrained = true;
    expect(systemClock.nowMs() - startedMs).toBeLessThan(5_000);
    await expect.poll(() => ending).toBe(14);
    expect(heard.at(-1)).toBe('NOT_SERVING');
    client.close();
  });
});

describe('reflection', () => {
  const reflectionRoot = dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json'));

  test.each(['v1', 'v1alpha'])('%s lists every service and gives its file', async (version) => {
    const proto = join(reflectionRoot, `build/proto/grpc/reflection/${version}/reflection.proto`);
    const client = clientOf(proto, `grpc.reflection.${version}.ServerReflection`);
    const stream = client.ServerReflectionInfo?.() as ClientDuplexStream<object, Record<string, unknown>>;
    const ask = (question: object) =>
      new Promise<Record<string, unknown>>((resolve) => {
        stream.once('data', resolve);
        stream.write(question);
      });
    const listed = (await ask({ listServices: '' })).listServicesResponse as { service: { name: string }[] };
    expect(listed.service.map(({ name }) => name).toSorted()).toEqual([
      'grpc.health.v1.Health',
      'inference.GRPCInferenceService',
      'shoal.admin.v1.Admin',
    ]);
    for (const { name } of listed.service) {
      const answer = await ask({ fileContainingSymbol: name });
      const files = answer.fileDescriptorResponse as { fileDescriptorProto: Buffer[] };
      const root = descriptorRoot(files.fileDescriptorProto);
      expect(root.lookupService(name).methodsArray.length).toBeGreaterThan(0);
    }
    await new Promise((resolve) => stream.once('end', resolve).end());
    client.close();
  });

  /** What a client such as grpcurl builds from the answer. */
  function descriptorRoot(files: readonly Buffer[]): protobuf.Root {
    const { FileDescriptorSet } = createRequire(import.meta.url)('protobufjs/ext/descriptor');
    const set = FileDescriptorSet.create({ file: [] });
    const FileDescriptorProto = FileDescriptorSet.lookupType('FileDescriptorProto');
    set.file = files.map((bytes) => FileDescriptorProto.decode(bytes));
    return (protobuf.Root as unknown as { fromDescriptor(set: unknown): protobuf.Root }).fromDescriptor(set);
  }
});
