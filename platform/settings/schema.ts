import { z } from 'zod';
import { type Role, type SettingFacts, setting } from './setting.js';
import { amounts, bytes, choice, file, hostAndPort, integer, list, milliseconds, port, text } from './value-kinds.js';

const device = text('a device', 'DEVICE', /^(cpu|gpu|webgpu|cuda|tensorrt)(:\d{1,3})?$/);
const host = text(
  'a host name or address without a port',
  'HOST',
  /^([A-Za-z0-9_.-]+|\[?[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*\]?)$/,
);
const name = text('letters, digits and . _ - only', 'NAME', /^[A-Za-z0-9._-]{1,200}$/);

const everywhere: readonly Role[] = ['up', 'coordinator', 'worker'];
const front: readonly Role[] = ['up', 'coordinator'];
const back: readonly Role[] = ['up', 'worker'];

/**
 * Every setting there is. The key in `Settings` is the name in camel case; the flag, the variable and
 * the YAML key follow from `flag` (see `setting.ts`). `docs/SETTINGS.md` is generated from this table.
 */
export const settingSchema = {
  host: setting({
    flag: 'host',
    kind: host,
    roles: everywhere,
    description: 'Address to listen on: `up` is for this machine, the services on their own are for a network.',
    defaultValue: (facts) => (facts.role === 'up' ? '127.0.0.1' : '0.0.0.0'),
    defaultText: { up: '127.0.0.1', coordinator: '0.0.0.0', worker: '0.0.0.0' },
  }),
  grpcPort: setting({
    flag: 'grpc-port',
    kind: port,
    roles: front,
    description: 'Port of the gRPC front end (Open Inference Protocol, Admin, health, reflection).',
    defaultValue: 8001,
  }),
  httpPort: setting({
    flag: 'http-port',
    kind: port,
    roles: front,
    description: 'Port of the HTTP front end (Open Inference Protocol REST).',
    defaultValue: 8000,
  }),
  metricsPort: setting({
    flag: 'metrics-port',
    kind: port,
    roles: everywhere,
    description: 'Port of the Prometheus metrics.',
    defaultValue: (facts) => (facts.role === 'worker' ? 0 : 8002),
    defaultText: { up: '8002', coordinator: '8002', worker: '0, any free one' },
  }),
  models: setting({
    flag: 'models',
    kind: file('a folder', 'DIR'),
    roles: back,
    description: 'Model repository: a folder of `<model>/<version>/model.onnx` with an optional config.pbtxt.',
    defaultValue: (facts) => (facts.role === 'up' ? facts.bundledModels : './models'),
    defaultText: { up: 'the bundled examples', worker: './models' },
  }),
  workers: setting({
    flag: 'workers',
    kind: integer(0, 1_000),
    roles: ['up'],
    description: 'How many workers to start; 0 starts one per device.',
    defaultValue: 0,
  }),
  devices: setting({
    flag: 'devices',
    kind: list(device, 'a list of cpu, gpu, webgpu, cuda or tensorrt, each with an optional ordinal: gpu:0,gpu:1,cpu'),
    roles: back,
    description: 'Devices that executors run on.',
    defaultValue: ['cpu'],
  }),
  data: setting({
    flag: 'data',
    kind: file('a folder', 'DIR'),
    roles: everywhere,
    description: 'Folder for what must outlive a restart: workers keep there how long executions take (`profiles/`).',
    defaultValue: '.shoal',
  }),
  slabDir: setting({
    flag: 'slab-dir',
    kind: file('a folder', 'DIR'),
    roles: back,
    description: 'Folder of the files through which tensors reach executors; best in memory.',
    defaultValue: (facts) => facts.memoryFolder,
    defaultText: '/dev/shm, or the folder for temporary files where there is none',
  }),
  join: setting({
    flag: 'join',
    kind: list(hostAndPort, 'a list of HOST:PORT, for example 10.0.0.5:8001,10.0.0.6:8001'),
    roles: ['worker'],
    description: 'gRPC addresses of the coordinators to serve.',
    defaultValue: [],
    defaultText: 'none',
  }),
  linkPort: setting({
    flag: 'link-port',
    kind: port,
    roles: ['worker'],
    description: 'Port that coordinators reach this worker on; 0 takes any free one and announces it.',
    defaultValue: 0,
  }),
  advertise: setting({
    flag: 'advertise',
    kind: host,
    roles: ['worker'],
    description: 'Host name or address that coordinators should dial to reach this worker.',
    defaultValue: (facts) => facts.address,
    defaultText: '`host` if that is one address, else the first of this machine that is not loopback',
  }),
  workerId: setting({
    flag: 'worker-id',
    kind: name,
    roles: ['worker'],
    description: 'Name of this worker; must differ from that of every other worker.',
    defaultValue: (facts) => `${facts.hostName}-${facts.pid}`,
    defaultText: 'host name and process id',
  }),
  pipelineDepth: setting({
    flag: 'pipeline-depth',
    kind: integer(0, 16, 'batches'),
    roles: back,
    description: 'Batches that may be on their way to an instance besides the one it runs.',
    defaultValue: 1,
  }),
  batchTimeoutMs: setting({
    flag: 'batch-timeout-ms',
    kind: milliseconds(10, 3_600_000),
    roles: back,
    description: 'How long one batch may run before its executor is taken for hung and restarted.',
    defaultValue: 30_000,
  }),
  loadTimeoutMs: setting({
    flag: 'load-timeout-ms',
    kind: milliseconds(100, 3_600_000),
    roles: back,
    description: 'How long loading and warming up one version may take.',
    defaultValue: 120_000,
  }),
  maxRestarts: setting({
    flag: 'max-restarts',
    kind: integer(0, 1_000),
    roles: back,
    description: 'Restarts of one instance within `restart-window-ms` after which its version is quarantined.',
    defaultValue: 5,
  }),
  restartWindowMs: setting({
    flag: 'restart-window-ms',
    kind: milliseconds(1_000, 86_400_000),
    roles: back,
    description: 'Span over which restarts are counted.',
    defaultValue: 60_000,
  }),
  restartBackoffMs: setting({
    flag: 'restart-backoff-ms',
    kind: milliseconds(1, 60_000),
    roles: back,
    description: 'Pause before the first restart of an instance; doubles with each further one, to 50 times this.',
    defaultValue: 100,
  }),
  maxQueueRows: setting({
    flag: 'max-queue-rows',
    kind: integer(1, 10_000_000, 'rows'),
    roles: front,
    description:
      'Rows that may wait in one queue; a request that would exceed it is refused, unless its caller has less than its fair part of them.',
    defaultValue: 4096,
  }),
  deviceConcurrency: setting({
    flag: 'device-concurrency',
    kind: integer(0, 10_000, 'batches'),
    roles: front,
    description:
      'Batches that run on one device at a time, of whatever models; who waits is served by device time. 0: no limit but the instances.',
    defaultValue: 0,
  }),
  rateLimitResource: setting({
    flag: 'rate-limit-resource',
    kind: amounts(z.number().int().min(1), 'resources with amounts, for example memory=4,licence=1'),
    roles: front,
    description: "Amounts of the resources that models' rate_limiter asks for, on each device or in all if global.",
    defaultValue: {},
    defaultText: 'as much of each as the greediest model asks for',
  }),
  callerWeights: setting({
    flag: 'caller-weights',
    kind: amounts(z.number().gt(0).max(1e6), 'callers with weights, for example search=4,batch=0.5'),
    roles: front,
    description:
      'Shares of callers (metadata x-shoal-caller, else the address) in a model that is short; 1 by default.',
    defaultValue: {},
    defaultText: 'all alike',
  }),
  maxMessageBytes: setting({
    flag: 'max-message-bytes',
    kind: bytes(64 * 1024, 2 ** 31 - 1),
    roles: everywhere,
    description: 'Largest request or answer.',
    defaultValue: 256 * 2 ** 20,
  }),
  maxAttempts: setting({
    flag: 'max-attempts',
    kind: integer(1, 10),
    roles: front,
    description: 'Times one batch may be tried when executors or workers die under it; 1 never retries.',
    defaultValue: 2,
  }),
  replicaGraceMs: setting({
    flag: 'replica-grace-ms',
    kind: milliseconds(0, 3_600_000),
    roles: front,
    description: 'How long requests wait for a version whose last replica was lost, before they fail.',
    defaultValue: 10_000,
  }),
  workerTtlMs: setting({
    flag: 'worker-ttl-ms',
    kind: milliseconds(500, 3_600_000),
    roles: front,
    description: 'A worker that neither announces itself nor answers for this long is forgotten.',
    defaultValue: 10_000,
  }),
  drainGraceMs: setting({
    flag: 'drain-grace-ms',
    kind: milliseconds(0, 3_600_000),
    roles: everywhere,
    description: 'How long accepted requests may take to finish after SIGTERM or Ctrl-C.',
    defaultValue: 10_000,
  }),
  logLevel: setting({
    flag: 'log-level',
    kind: choice('LEVEL', 'trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    roles: everywhere,
    description: 'Least important log lines to write: trace, debug, info, warn, error, fatal or silent.',
    defaultValue: 'info',
  }),
  logFormat: setting({
    flag: 'log-format',
    kind: choice('FORMAT', 'auto', 'pretty', 'json'),
    roles: everywhere,
    description: 'Shape of log lines: pretty, json, or auto, which is pretty on a terminal and json elsewhere.',
    defaultValue: 'auto',
  }),
  server: setting({
    flag: 'server',
    kind: hostAndPort,
    roles: ['client'],
    description: 'gRPC address of the coordinator that client commands talk to.',
    defaultValue: '127.0.0.1:8001',
  }),
} as const;

export type SettingName = keyof typeof settingSchema;

/** All settings of one process, checked, frozen. Paths are absolute; units are in the names. */
export type Settings = {
  readonly [K in SettingName]: ReturnType<(typeof settingSchema)[K]['compiledDefault']>;
};

export type { Role, SettingFacts };
export const settingNames = Object.keys(settingSchema) as readonly SettingName[];
