import { afterEach, expect, it } from 'vitest';
import { GrpcFront } from '../../../coordinator/front/grpc-front.js';
import { Announcer, registryGrpcService } from '../../../platform/link/registry.js';
import { createLogger } from '../../../platform/telemetry/logger.js';
import { systemTimers } from '../../../platform/timers.js';
import { eventually } from '../../support/eventually.js';
import { ScriptedService } from '../front/scripted-service.js';

const cleanup: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const undo of cleanup.splice(0).reverse()) await undo();
});

it('a worker that names only its port is known by the address it came from, until it leaves', async () => {
  const announced: string[] = [];
  const left: string[] = [];
  const registry = registryGrpcService(
    { announced: (id, address) => announced.push(`${id} ${address}`), left: (id) => left.push(id) },
    300,
  );
  const service = new ScriptedService();
  const front = new GrpcFront({
    host: '127.0.0.1',
    port: 0,
    service,
    statistics: service,
    logger: createLogger({ level: 'silent' }),
    softwareVersion: 'test',
    extraServices: [registry],
  });
  const { port } = await front.start();
  cleanup.push(() => front.drain(0));
  const announcer = new Announcer({
    coordinator: `127.0.0.1:${port}`,
    workerId: 'w1',
    address: ':7001',
    timers: systemTimers,
    onChange: () => undefined,
  });
  await eventually(() => expect(announced.length).toBeGreaterThanOrEqual(2));
  await announcer.leave();
  expect(new Set(announced)).toEqual(new Set(['w1 127.0.0.1:7001']));
  expect(left).toEqual(['w1']);
});
