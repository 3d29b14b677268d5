import { describe, expect, test } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import { inspectSettings, resolveSettings, type SettingSources } from '../../../platform/settings/resolve.js';
import type { Role } from '../../../platform/settings/setting.js';

interface Given {
  readonly flags?: Record<string, string>;
  readonly environment?: Record<string, string>;
  readonly yaml?: string;
  readonly role?: Role;
}

function sources(given: Given): SettingSources {
  return {
    flags: given.flags ?? {},
    environment: given.environment ?? {},
    file:
      given.yaml === undefined ? undefined : { path: 'conf/shoal.yaml', label: 'conf/shoal.yaml', text: given.yaml },
    facts: {
      role: given.role ?? 'up',
      workingFolder: '/home/ada',
      bundledModels: '/opt/shoal/examples/models',
      hostName: 'reef',
      address: '10.1.2.3',
      pid: 42,
      memoryFolder: '/dev/shm',
    },
  };
}

function complaint(given: Given): string {
  try {
    resolveSettings(sources(given));
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ShoalError);
    const error = ShoalError.from(thrown);
    expect(error.code).toBe('BAD_SETTING');
    expect(error.message).not.toContain('\n');
    return error.message;
  }
  throw new Error('no complaint');
}

describe('precedence', () => {
  const yaml = 'grpc-port: 1001\nhttp-port: 1002\nmetrics-port: 1003\n';
  const environment = { SHOAL_GRPC_PORT: '2001', SHOAL_HTTP_PORT: '2002' };
  const flags = { 'grpc-port': '3001' };

  test('a flag beats a variable beats the file beats the default', () => {
    const settings = resolveSettings(sources({ flags, environment, yaml }));
    expect(settings.grpcPort).toBe(3001);
    expect(settings.httpPort).toBe(2002);
    expect(settings.metricsPort).toBe(1003);
    expect(settings.batchTimeoutMs).toBe(30_000);
  });

  test('every value carries its origin', () => {
    const { settings } = inspectSettings(sources({ flags, environment, yaml }));
    const origins = Object.fromEntries(settings.map((resolved) => [resolved.name, resolved.origin]));
    expect(origins).toMatchObject({
      grpcPort: '--grpc-port',
      httpPort: 'SHOAL_HTTP_PORT',
      metricsPort: 'conf/shoal.yaml:3',
      drainGraceMs: 'default',
    });
  });

  test('an empty variable and an empty YAML line count as absent', () => {
    const settings = resolveSettings(sources({ environment: { SHOAL_GRPC_PORT: '' }, yaml: 'grpc-port:\n' }));
    expect(settings.grpcPort).toBe(8001);
  });

  test('a weaker bad value does not matter when a stronger one is good', () => {
    expect(resolveSettings(sources({ flags, environment: { SHOAL_GRPC_PORT: 'x' } })).grpcPort).toBe(3001);
  });
});

describe('values', () => {
  test('defaults follow the role and the machine', () => {
    const up = resolveSettings(sources({}));
    const worker = resolveSettings(sources({ role: 'worker' }));
    expect([up.host, worker.host]).toEqual(['127.0.0.1', '0.0.0.0']);
    expect([up.models, worker.models]).toEqual(['/opt/shoal/examples/models', '/home/ada/models']);
    expect(worker.workerId).toBe('reef-42');
    expect(worker.advertise).toBe('10.1.2.3');
    expect(resolveSettings(sources({ role: 'worker', flags: { host: '127.0.0.1' } })).advertise).toBe('127.0.0.1');
    expect([up.metricsPort, worker.metricsPort]).toEqual([8002, 0]);
  });

  test('folders in the file are meant from its folder, others from the working folder', () => {
    const settings = resolveSettings(sources({ yaml: 'models: ./mine\n', flags: { data: 'state' } }));
    expect(settings.models).toBe('/home/ada/conf/mine');
    expect(settings.data).toBe('/home/ada/state');
  });

  test('lists and sizes may be written in several ways', () => {
    expect(resolveSettings(sources({ yaml: 'devices: [gpu:0, cpu]\n' })).devices).toEqual(['gpu:0', 'cpu']);
    expect(resolveSettings(sources({ flags: { devices: 'gpu:0, cpu' } })).devices).toEqual(['gpu:0', 'cpu']);
    for (const size of ['64MiB', '64 MiB', '65536KiB', '67108864']) {
      expect(resolveSettings(sources({ flags: { 'max-message-bytes': size } })).maxMessageBytes).toBe(67_108_864);
    }
  });

  test('the result cannot be changed', () => {
    expect(Object.isFrozen(resolveSettings(sources({})))).toBe(true);
  });
});

describe('complaints are one line that names setting, value, origin and what is expected', () => {
  test.each<[Given, string]>([
    [
      { environment: { SHOAL_GRPC_PORT: 'eighty' } },
      'The setting grpc-port is "eighty" (from SHOAL_GRPC_PORT); expected a port from 0 to 65535 (0: any free port).',
    ],
    [
      { yaml: 'log-level: info\n\nhttp-port: 70000\n' },
      'The setting http-port is 70000 (from conf/shoal.yaml:3); expected a port from 0 to 65535 (0: any free port).',
    ],
    [
      { flags: { 'batch-timeout-ms': '1.5' } },
      'The setting batch-timeout-ms is "1.5" (from --batch-timeout-ms); expected a whole number from 10 to 3600000 (milliseconds).',
    ],
    [
      { flags: { 'log-level': 'loud' } },
      'The setting log-level is "loud" (from --log-level); expected one of trace, debug, info, warn, error, fatal, silent.',
    ],
    [
      { flags: { join: '10.0.0.5' }, role: 'worker' },
      'The setting join is "10.0.0.5" (from --join); expected a list of HOST:PORT, for example 10.0.0.5:8001,10.0.0.6:8001.',
    ],
    [
      { flags: { devices: 'cpu,tpu' } },
      'The setting devices is "cpu,tpu" (from --devices); expected a list of cpu, gpu, webgpu, cuda or tensorrt, each with an optional ordinal: gpu:0,gpu:1,cpu.',
    ],
    [{ yaml: 'grcp-port: 1\n' }, 'Unknown setting "grcp-port" at conf/shoal.yaml:1; did you mean grpc-port?'],
    [{ yaml: 'zzzzzzzzz: 1\n' }, 'Unknown setting "zzzzzzzzz" at conf/shoal.yaml:1.'],
    [
      { environment: { SHOAL_DEVICE: 'cpu' } },
      'Unknown variable SHOAL_DEVICE in the environment; did you mean SHOAL_DEVICES?',
    ],
    [
      { flags: { 'http-port': '8001' } },
      'The settings grpc-port (default) and http-port (--http-port) are both 8001; expected different ports.',
    ],
    [{ yaml: '- 8001\n' }, 'The settings file conf/shoal.yaml:1 should hold lines like `grpc-port: 8001`.'],
  ])('%j', (given, sentence) => {
    expect(complaint(given)).toBe(sentence);
  });

  test('a file that is not YAML is named with the line of its fault', () => {
    expect(complaint({ yaml: 'host: reef\nmodels: [a\n' })).toMatch(
      /^The settings file conf\/shoal\.yaml:\d is not YAML: .*\.$/,
    );
  });

  test('a value of several lines stays on one', () => {
    expect(complaint({ environment: { SHOAL_GRPC_PORT: '80\n01' } })).toContain('"80 01"');
  });

  test('several faults are counted, the first is told', () => {
    expect(complaint({ flags: { 'grpc-port': 'a', 'http-port': 'b', 'metrics-port': 'c' } })).toMatch(
      /^The setting grpc-port is "a" .*\(2 more problems after this one\.\)$/,
    );
  });
});

test('variables that Kubernetes makes for Services are not settings', () => {
  const environment = {
    SHOAL_SERVICE_HOST: '10.0.0.1',
    SHOAL_SERVICE_PORT: '8001',
    SHOAL_SERVICE_PORT_GRPC: '8001',
    SHOAL_PORT: 'tcp://10.0.0.1:8001',
    SHOAL_PORT_8001_TCP: 'tcp://10.0.0.1:8001',
    SHOAL_PORT_8001_TCP_ADDR: '10.0.0.1',
    SHOAL_GRPC_PORT: 'tcp://10.0.0.1:8001',
  };
  expect(resolveSettings(sources({ environment })).grpcPort).toBe(8001);
});
