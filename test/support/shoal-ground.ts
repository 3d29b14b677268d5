import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AdminClient } from '../../platform/admin/client.js';
import { OipClient } from '../../platform/oip/client.js';
import { eventually } from './eventually.js';
import { requireFreshBuild } from './fresh-build.js';
import { type Launch, ShoalProcess } from './shoal-process.js';

export interface StartOptions {
  /** Model repository; default the bundled examples (`up`) or none (`worker` needs one). */
  readonly models?: string;
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Permissions of files count, though the tests may run as root. */
  readonly unprivileged?: boolean;
}

/** A coordinator's addresses, `host:port`. */
export interface Doors {
  readonly grpc: string;
  readonly http: string;
  readonly metrics: string;
}

export type Cluster = ShoalProcess & Doors;

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Set for every process of a ground and inherited by its executors, so that stragglers can be told. */
const marker = 'CLUSTER_TEST_GROUND';

/** A child with these switched on would not be the product. */
const isForeign = (name: string): boolean => /^(SHOAL_|VITEST|NODE_OPTIONS$|npm_)/.test(name);

/**
 * Where real `shoal` processes run during a test: free ports, folders of their own, and an end at which nothing may
 * be left. Services may write nothing but log lines to standard error, and none of a failure that nobody foresaw.
 */
export class ShoalGround {
  readonly folder: string;
  readonly #id = randomUUID();
  readonly #processes = new Set<ShoalProcess>();

  static async open(): Promise<ShoalGround> {
    requireFreshBuild();
    return new ShoalGround(await mkdtemp(path.join(tmpdir(), 'shoal-ground-')));
  }

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** `shoal up`, once it says that it is ready. */
  async up({ models, ...options }: StartOptions = {}): Promise<Cluster> {
    const repository = models === undefined ? [] : ['--models', models];
    const doors = ['--grpc-port', '0', '--http-port', '0', '--metrics-port', '0'];
    const cluster = await this.#opened(this.service(['up', ...doors, ...this.#folders(), ...repository], options));
    await serverReady(cluster.grpc);
    return cluster;
  }

  /** `shoal coordinator`, once its doors are open; it has no workers yet. */
  async coordinator(options: Omit<StartOptions, 'models'> = {}, grpcPort = 0): Promise<Cluster> {
    const doors = ['--host', '127.0.0.1', '--grpc-port', String(grpcPort), '--http-port', '0', '--metrics-port', '0'];
    const data = path.join(this.folder, 'data');
    return this.#opened(this.service(['coordinator', ...doors, '--data', data], options));
  }

  /** `shoal worker --join`, once every coordinator counts it in and none of its versions is loading. */
  async worker(workerId: string, join: readonly string[], options: StartOptions): Promise<ShoalProcess> {
    const { models, ...rest } = options;
    const reach = ['--host', '127.0.0.1', '--join', join.join(','), '--worker-id', workerId];
    const repository = models === undefined ? [] : ['--models', models];
    const worker = this.service(['worker', ...reach, ...this.#folders(), ...repository], rest);
    await worker.printed(/^Worker /m);
    for (const address of join) await connected(address, workerId);
    return worker;
  }

  /** Any long-running command as it stands, not waited for. */
  service(
    args: readonly string[],
    { flags = [], env = {}, unprivileged = false }: Omit<StartOptions, 'models'> = {},
  ): ShoalProcess {
    const process = new ShoalProcess({
      args: [...args, ...flags],
      cwd: this.folder,
      env: this.#env(env),
      unprivileged,
    });
    this.#processes.add(process);
    return process;
  }

  /** Any command, run to its end. */
  async run(
    args: readonly string[],
    { cwd = this.folder, env = {}, input = '', unprivileged = false }: Partial<Omit<Launch, 'args'>> = {},
  ): Promise<Finished> {
    const process = new ShoalProcess({ args, cwd, env: this.#env(env), input, unprivileged });
    const timer = setTimeout(() => process.signal('SIGKILL'), 30_000);
    const { code } = await process.ended;
    clearTimeout(timer);
    return { code, stdout: process.stdout, stderr: process.stderr };
  }

  /** Drains what still runs. Throws when a process exits badly or anything is left: executors, slabs, complaints. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    const running = [...this.#processes].filter(({ ending }) => ending === undefined);
    for (const outcome of await Promise.allSettled(running.map((process) => process.stop()))) {
      if (outcome.status === 'rejected') failures.push(outcome.reason);
    }
    try {
      await eventually(() => {
        const left = this.#stragglers();
        if (left.length > 0) throw new Error(`These processes are left: ${left.map(nameOf).join('; ')}`);
      });
    } catch (thrown) {
      failures.push(thrown);
      for (const pid of this.#stragglers()) process.kill(pid, 'SIGKILL');
    }
    const slabs = await readdir(path.join(this.folder, 'slabs')).catch(() => []);
    if (slabs.length > 0) failures.push(new Error(`These slab files are left: ${slabs.join(', ')}`));
    for (const { args, stderr } of this.#processes) {
      const complaints = stderr.split('\n').filter((line) => line !== '' && !isExpectedLog(line));
      if (complaints.length > 0) failures.push(new Error(`shoal ${args.join(' ')} said:\n${complaints.join('\n')}`));
    }
    await rm(this.folder, { recursive: true, force: true });
    if (failures.length > 0)
      throw failures.length === 1 ? failures[0] : new AggregateError(failures, failures.join('\n\n'));
  }

  #folders(): string[] {
    const slabs = path.join(this.folder, 'slabs');
    mkdirSync(slabs, { recursive: true });
    return ['--data', path.join(this.folder, 'data'), '--slab-dir', slabs];
  }

  async #opened(process: ShoalProcess): Promise<Cluster> {
    const [, grpc = '', http = '', metrics = ''] = await process.printed(
      /gRPC +(\S+)\n +HTTP +http:\/\/(\S+)\n +metrics +http:\/\/(\S+)\/metrics\n/,
    );
    return Object.assign(process, { grpc, http, metrics });
  }

  #env(more: Readonly<Record<string, string>>): Record<string, string> {
    const own = Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined || isForeign(name) ? [] : [[name, value] as const],
    );
    return { ...Object.fromEntries(own), ...more, [marker]: this.#id };
  }

  /** Processes of this ground that live, zombies not counted. */
  #stragglers(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => readProc(pid, 'environ').includes(`${marker}=${this.#id}`))
      .map(Number);
  }
}

/** Empty when the process is gone or another user's. */
function readProc(pid: number | string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It ended between the listing and the look, as processes do.
    return '';
  }
}

/** Standard error holds log lines and nothing else: no stack, no warning of the runtime, no failure nobody foresaw. */
function isExpectedLog(line: string): boolean {
  try {
    const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown };
    return level !== 'fatal' && typeof msg === 'string' && !msg.includes('unexpectedly');
  } catch {
    // Not JSON, so not a log line.
    return false;
  }
}

const nameOf = (pid: number): string => `${pid} ${readProc(pid, 'cmdline').replaceAll('\0', ' ').trim()}`;

/** Waits for OIP ServerReady: every version that can be served is. */
export async function serverReady(grpc: string, withinMs = 45_000): Promise<void> {
  const client = new OipClient(grpc);
  try {
    await eventually(async () => {
      if (!(await client.serverReady({ timeoutMs: 2000 }))) throw new Error(`The server at ${grpc} is not ready.`);
    }, withinMs);
  } finally {
    client.close();
  }
}

/** Waits until a coordinator has this worker connected with nothing loading. */
export async function connected(grpc: string, workerId: string, withinMs = 45_000): Promise<void> {
  const admin = new AdminClient(grpc);
  try {
    await eventually(async () => {
      const worker = (await admin.listWorkers()).find((listed) => listed.workerId === workerId);
      const loading = worker?.versions.filter(({ state }) => state === 'loading').map(({ model }) => model) ?? [];
      if (worker?.state !== 'connected' || loading.length > 0) {
        throw new Error(`Worker ${workerId} is ${worker?.state ?? 'unknown'} and loads [${loading.join(', ')}].`);
      }
    }, withinMs);
  } finally {
    admin.close();
  }
}
