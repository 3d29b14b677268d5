import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../../core/clock.js';
import { invariant, ShoalError } from '../../core/errors.js';
import { OipClient } from '../../platform/oip/client.js';
import { packageRoot } from '../../platform/package-root.js';
import { Scrape } from './scrape.js';

const readyTimeoutMs = 60_000;
const stopTimeoutMs = 20_000;

export interface ServerUnderTest {
  /** Every process of it is one of these or descends from one. */
  readonly pids: readonly number[];
  /** `host:port` for gRPC. */
  readonly address: string;
  /** What its metrics port says now. */
  scrape(): Promise<Scrape>;
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

export interface ServerWish {
  readonly repository: string;
  readonly models: readonly string[];
  /** `taskset -c` list; empty: not pinned. */
  readonly cpus: string;
  readonly dataFolder: string;
  /** Further words for `shoal up`. */
  readonly flags?: readonly string[];
}

/**
 * Starts `shoal up` on the given cores and waits until every model is ready.
 * @throws MODEL_NOT_READY when it is not within a minute, or ends
 */
export async function startServer(wish: ServerWish): Promise<ServerUnderTest> {
  const doors = await freeDoors();
  const words = ['--models', wish.repository, '--data', wish.dataFolder, ...doors.words, ...(wish.flags ?? [])];
  const child = startShoal(['up', ...words], wish.cpus);
  return underTest([child], doors, (client) => allReady(client, wish.models), wish.models.join(', '));
}

export interface ClusterWish {
  /** One for each worker: its model repository. */
  readonly repositories: readonly string[];
  readonly model: string;
  readonly cpus: string;
  readonly dataFolder: string;
  /** Further words for `shoal coordinator` and for `shoal worker`. */
  readonly coordinatorFlags?: readonly string[];
  readonly workerFlags?: readonly string[];
}

/**
 * Starts one `shoal coordinator` and a `shoal worker` for each repository, and waits until all of them have the model.
 * @throws MODEL_NOT_READY when that takes more than a minute, or one ends
 */
export async function startCluster(wish: ClusterWish): Promise<ServerUnderTest> {
  const doors = await freeDoors();
  const data = (name: string): readonly string[] => ['--data', join(wish.dataFolder, name)];
  const { coordinatorFlags = [], workerFlags = [] } = wish;
  const coordinator = startShoal(
    ['coordinator', ...data('coordinator'), ...doors.words, ...coordinatorFlags],
    wish.cpus,
  );
  const workers = wish.repositories.map((repository, i) =>
    startShoal(
      [
        ...['worker', '--join', doors.address, '--models', repository, '--worker-id', `worker-${i + 1}`],
        ...['--host', '127.0.0.1', '--log-level', 'error', ...data(`worker-${i + 1}`), ...workerFlags],
      ],
      wish.cpus,
    ),
  );
  const scrape = (): Promise<Scrape> => scrapeAt(doors.metricsPort);
  const everyInstance = async (): Promise<boolean> =>
    ((await scrape()).sum('shoal_instances', { state: 'idle' }) ?? 0) >= workers.length;
  return underTest(
    [coordinator, ...workers],
    doors,
    async (client) => (await allReady(client, [wish.model])) && (await everyInstance()),
    `${wish.model} on ${workers.length} workers`,
  );
}

interface Doors {
  readonly address: string;
  readonly metricsPort: number;
  readonly words: readonly string[];
}

async function freeDoors(): Promise<Doors> {
  const [grpcPort, httpPort, metricsPort] = [await freePort(), await freePort(), await freePort()];
  const ports = ['--grpc-port', grpcPort, '--http-port', httpPort, '--metrics-port', metricsPort].map(String);
  // Workers that come and go are no news here.
  const words = ['--host', '127.0.0.1', '--log-level', 'error', ...ports];
  return { address: `127.0.0.1:${grpcPort}`, metricsPort, words };
}

/** Started by its own first line, which sets the size of V8's young generation. */
function startShoal(words: readonly string[], cpus: string): ChildProcess {
  const shoal = join(packageRoot, 'ops', 'bin', 'shoal.js');
  const [command = shoal, ...first] = cpus === '' ? [shoal] : ['taskset', '-c', cpus, shoal];
  return spawn(command, [...first, ...words], { stdio: ['ignore', 'ignore', 'inherit'] });
}

async function scrapeAt(metricsPort: number): Promise<Scrape> {
  const answer = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
  return new Scrape(await answer.text());
}

async function underTest(
  children: readonly ChildProcess[],
  { address, metricsPort }: Doors,
  isReady: (client: OipClient) => Promise<boolean>,
  what: string,
): Promise<ServerUnderTest> {
  // Workers first: a coordinator that is gone makes them wait for it.
  const stopAll = async (): Promise<void> => {
    for (const child of children.toReversed()) await stop(child);
  };
  try {
    await ready(children, address, isReady, what);
  } catch (thrown) {
    await stopAll();
    throw thrown;
  }
  return {
    pids: children.flatMap(({ pid }) => pid ?? []),
    address,
    scrape: () => scrapeAt(metricsPort),
    stop: stopAll,
  };
}

async function ready(
  children: readonly ChildProcess[],
  address: string,
  isReady: (client: OipClient) => Promise<boolean>,
  what: string,
): Promise<void> {
  const endMs = systemClock.nowMs() + readyTimeoutMs;
  const client = new OipClient(address);
  try {
    // A server that does not answer yet is simply not ready.
    while (!(await isReady(client).catch(() => false))) {
      const ended = children.some(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null);
      if (ended || systemClock.nowMs() > endMs) {
        const why = ended ? 'a process of it ended' : `not within ${readyTimeoutMs / 1000} s`;
        throw new ShoalError('MODEL_NOT_READY', `The server under test did not get ready with ${what}: ${why}.`);
      }
      await pause(100);
    }
  } finally {
    client.close();
  }
}

async function allReady(client: OipClient, models: readonly string[]): Promise<boolean> {
  const states = await Promise.all(models.map((model) => client.modelReady(model, '', { timeoutMs: 1000 })));
  return states.every((state) => state);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
  await ended;
  clearTimeout(force);
}
