import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemClock } from '../../../core/clock.js';
import { packageRoot } from '../../../platform/package-root.js';
import { eventually } from '../../support/eventually.js';
import { childrenOf, isAlive } from './processes.js';

const entry = path.join(packageRoot, 'ops/bin/shoal.js');

export interface StartOptions {
  /** Program and arguments that run shoal, for example `ip netns exec NAME`. */
  readonly through?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A real `shoal` service in a process of its own, on free ports of this machine. */
export class Service {
  readonly exited: Promise<Ending>;
  /** Where it listens, from its banner; empty for doors this command does not have. */
  grpc = '';
  http = '';
  metrics = '';
  link = '';
  readonly #child: ChildProcess;
  readonly #folder: string;
  #output = '';
  #ending: Ending | undefined;

  private constructor(args: readonly string[], { through = [], env = {} }: StartOptions) {
    this.#folder = mkdtempSync(path.join(tmpdir(), 'shoal-service-'));
    const [program = '', ...rest] = [...through, process.execPath, entry, ...args];
    this.#child = spawn(program, [...rest, '--data', this.#folder], {
      cwd: this.#folder,
      env: { ...process.env, SHOAL_LOG_LEVEL: 'warn', SHOAL_LOG_FORMAT: 'json', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output = (this.#output + chunk.toString('utf8')).slice(-100_000);
      });
    }
    this.exited = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        this.#ending = { code, signal };
        rmSync(this.#folder, { recursive: true, force: true });
        resolve(this.#ending);
      });
    });
  }

  /** Resolves once the banner is there: every port is open and the models have settled. */
  static async start(args: readonly string[], options: StartOptions = {}): Promise<Service> {
    const service = new Service(args, options);
    try {
      await service.#banner();
    } catch (thrown) {
      service.kill();
      throw thrown;
    }
    return service;
  }

  /** For a service that is expected not to come up: its exit code and everything it said. */
  static async startInVain(args: readonly string[], options: StartOptions = {}): Promise<Ending & { output: string }> {
    const service = new Service(args, options);
    const late = setTimeout(() => service.kill(), 20_000);
    const ending = await service.exited;
    clearTimeout(late);
    return { ...ending, output: service.output };
  }

  /** The service's own process, not that of the program it was started through. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get output(): string {
    return this.#output;
  }

  /** Processes of this service that run models. */
  get executors(): number[] {
    return childrenOf(this.pid);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#ending === undefined) process.kill(this.pid, signal);
  }

  kill(): void {
    this.signal('SIGKILL');
  }

  /** Ends it as an operator would. It must drain, exit with 0 and leave no process behind. */
  async stop(): Promise<void> {
    const executors = this.executors;
    this.signal('SIGCONT');
    this.signal('SIGTERM');
    const late = setTimeout(() => this.kill(), 20_000);
    const ending = await this.exited;
    clearTimeout(late);
    const left = executors.filter(isAlive);
    if (ending.code !== 0 || left.length > 0) {
      const how = `exit code ${ending.code}, signal ${ending.signal}, executors left: ${left.join(', ') || 'none'}`;
      throw new Error(`The service did not end as it should: ${how}. It said:\n${this.#output}`);
    }
  }

  async #banner(): Promise<void> {
    const startMs = systemClock.nowMs();
    const address = (label: string): string =>
      new RegExp(`^  ${label} +(?:http://)?([^\\s/]+:\\d+)`, 'm').exec(this.#output)?.[1] ?? '';
    await eventually(() => {
      if (!this.#output.includes('Ctrl-C drains and stops.')) {
        const ended = this.#ending === undefined ? 'still runs' : `ended with ${JSON.stringify(this.#ending)}`;
        const waitedMs = Math.round(systemClock.nowMs() - startMs);
        throw new Error(`No banner within ${waitedMs} ms; the process ${ended}. It said:\n${this.#output}`);
      }
    }, 30_000);
    this.grpc = address('gRPC');
    this.http = address('HTTP');
    this.metrics = address('metrics');
    this.link = address('link');
  }
}

const anyMetricsPort = ['--metrics-port', '0'];
/** Free ports for all doors of a coordinator. */
export const anyDoors = [...anyMetricsPort, '--grpc-port', '0', '--http-port', '0'];

export const up = (models: string, args: readonly string[] = [], options: StartOptions = {}): Promise<Service> =>
  Service.start(['up', '--models', models, ...anyDoors, ...args], options);

export const coordinator = (args: readonly string[] = [], options: StartOptions = {}): Promise<Service> =>
  Service.start(['coordinator', '--host', '127.0.0.1', ...anyDoors, ...args], options);

export const worker = (
  join: string,
  workerId: string,
  models: string,
  args: readonly string[] = [],
  options: StartOptions = {},
): Promise<Service> => {
  const reach = ['--host', '127.0.0.1', '--join', join, '--worker-id', workerId, '--models', models];
  return Service.start(['worker', ...reach, ...anyMetricsPort, ...args], options);
};

/** Runs a client command of shoal to its end. Rejects when it fails. */
export const shoal = (args: readonly string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(process.execPath, [entry, ...args], { cwd: tmpdir() }, (failure, stdout, stderr) => {
      if (failure === null) resolve(stdout);
      else reject(new Error(`shoal ${args.join(' ')} failed: ${stderr}`, { cause: failure }));
    });
  });
