import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../../core/clock.js';
import { invariant, ShoalError } from '../../core/errors.js';
import { OipClient } from '../../platform/oip/client.js';
import { packageRoot } from '../../platform/package-root.js';

const readyTimeoutMs = 60_000;
const stopTimeoutMs = 20_000;

/** Rows answered and batches run so far. */
export interface BatchCounts {
  readonly rows: number;
  readonly batches: number;
}

export interface ServerUnderTest {
  readonly pid: number;
  /** `host:port` for gRPC. */
  readonly address: string;
  /** From Triton's counters on the metrics port. */
  batchCounts(model: string): Promise<BatchCounts>;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  invariant(address !== null && typeof address === 'object', 'a TCP server listens at a port');
  probe.close();
  await once(probe, 'close');
  return address.port;
}

/**
 * Starts `shoal up` on the given cores and waits until every model is ready.
 * @throws MODEL_NOT_READY when it is not within a minute, or ends
 */
export async function startServer(
  repository: string,
  models: readonly string[],
  cpus: string,
  dataFolder: string,
): Promise<ServerUnderTest> {
  const [grpcPort, httpPort, metricsPort] = [await freePort(), await freePort(), await freePort()];
  const shoal = join(packageRoot, 'ops', 'bin', 'shoal.js');
  const ports = ['--grpc-port', grpcPort, '--http-port', httpPort, '--metrics-port', metricsPort].map(String);
  const settings = ['--models', repository, '--host', '127.0.0.1', '--data', dataFolder, '--log-level', 'warn'];
  // Started by its own first line, which sets the size of V8's young generation.
  const child = spawn('taskset', ['-c', cpus, shoal, 'up', ...settings, ...ports], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const address = `127.0.0.1:${grpcPort}`;
  try {
    await ready(child, address, models);
  } catch (thrown) {
    await stop(child);
    throw thrown;
  }
  return {
    pid: child.pid ?? 0,
    address,
    batchCounts: async (model) => {
      const answer = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
      return parseBatchCounts(await answer.text(), model);
    },
    stop: () => stop(child),
  };
}

async function ready(child: ChildProcess, address: string, models: readonly string[]): Promise<void> {
  const endMs = systemClock.nowMs() + readyTimeoutMs;
  const client = new OipClient(address);
  try {
    for (;;) {
      const states = await Promise.all(models.map((model) => isReady(client, model)));
      if (states.every((state) => state)) return;
      const ended = child.exitCode !== null || child.signalCode !== null;
      if (ended || systemClock.nowMs() > endMs) {
        const missing = models.filter((_, i) => states[i] !== true).join(', ');
        const why = ended ? 'the server ended' : `not within ${readyTimeoutMs / 1000} s`;
        throw new ShoalError('MODEL_NOT_READY', `The server under test did not get ready with ${missing}: ${why}.`);
      }
      await pause(100);
    }
  } finally {
    client.close();
  }
}

/** A server that does not answer yet is simply not ready. */
const isReady = (client: OipClient, model: string): Promise<boolean> =>
  client.modelReady(model, '', { timeoutMs: 1000 }).catch(() => false);

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
  await ended;
  clearTimeout(force);
}

/** Sums Triton's `nv_inference_count` (rows) and `nv_inference_exec_count` (batches) over the versions of a model. */
export function parseBatchCounts(exposition: string, model: string): BatchCounts {
  let rows = 0;
  let batches = 0;
  for (const line of exposition.split('\n')) {
    const match = /^(nv_inference_(?:exec_)?count)\{([^}]*)\} ([0-9.e+]+)/.exec(line);
    if (match === null || !`,${match[2]}`.includes(`,model="${model}"`)) continue;
    if (match[1] === 'nv_inference_count') rows += Number(match[3]);
    else batches += Number(match[3]);
  }
  return { rows, batches };
}
