import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { requireFreshBuild } from '../../support/fresh-build.js';
import { type Ending, ShoalProcess } from '../../support/shoal-process.js';
import { childrenOf, isAlive } from './processes.js';

export interface StartOptions {
  /** Program and arguments that become shoal, for example `ip netns exec NAME`. */
  readonly through?: readonly string[];
}

/** A real `shoal` service in a process of its own, on free ports of this machine, to be treated badly. */
export class Service {
  /** Where it listens, from its banner; empty for doors this command does not have. */
  grpc = '';
  http = '';
  metrics = '';
  link = '';
  readonly #process: ShoalProcess;

  private constructor(args: readonly string[], { through = [] }: StartOptions) {
    requireFreshBuild();
    const cwd = mkdtempSync(path.join(tmpdir(), 'shoal-service-'));
    const inherited = Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined || /^(SHOAL_|VITEST|NODE_OPTIONS$|npm_)/.test(name) ? [] : [[name, value] as const],
    );
    const env = { ...Object.fromEntries(inherited), SHOAL_LOG_LEVEL: 'warn', SHOAL_LOG_FORMAT: 'json' };
    this.#process = new ShoalProcess({ args: [...args, '--data', cwd], cwd, env, through });
    void this.exited.then(() => rmSync(cwd, { recursive: true, force: true }));
  }

  /** Resolves once the banner is there: every port is open and the models have settled. */
  static async start(args: readonly string[], options: StartOptions = {}): Promise<Service> {
    const service = new Service(args, options);
    try {
      const [banner] = await service.#process.printed(/[\s\S]*Ctrl-C drains and stops\./, 45_000);
      const address = (label: string): string =>
        new RegExp(`^  ${label} +(?:http://)?([^\\s/]+:\\d+)`, 'm').exec(banner)?.[1] ?? '';
      service.grpc = address('gRPC');
      service.http = address('HTTP');
      service.metrics = address('metrics');
      service.link = address('link');
      return service;
    } catch (thrown) {
      service.kill();
      throw thrown;
    }
  }

  /** For a service that is expected not to come up: its exit code and everything it said. */
  static async startInVain(args: readonly string[], options: StartOptions = {}): Promise<Ending & { output: string }> {
    const service = new Service(args, options);
    const late = setTimeout(() => service.kill(), 20_000);
    const ending = await service.exited;
    clearTimeout(late);
    return { ...ending, output: service.#process.stdout + service.#process.stderr };
  }

  get pid(): number {
    return this.#process.pid;
  }

  get exited(): Promise<Ending> {
    return this.#process.ended;
  }

  /** Processes of this service that run models. */
  get executors(): number[] {
    return childrenOf(this.pid);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal);
  }

  kill(): void {
    this.signal('SIGKILL');
  }

  /** Ends it as an operator would. It must drain, exit with 0 and leave no process behind. */
  async stop(): Promise<void> {
    if (this.#process.ending !== undefined) return;
    const { executors } = this;
    this.signal('SIGCONT');
    await this.#process.stop();
    const left = executors.filter(isAlive);
    if (left.length > 0) throw new Error(`The service left these executors behind: ${left.join(', ')}.`);
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
export async function shoal(args: readonly string[]): Promise<string> {
  const command = new ShoalProcess({ args, cwd: tmpdir(), env: { PATH: process.env.PATH ?? '' } });
  const { code } = await command.ended;
  if (code !== 0) throw new Error(`shoal ${args.join(' ')} failed: ${command.stderr}`);
  return command.stdout;
}
