import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { packageRoot } from '../../platform/package-root.js';

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Launch {
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Text for standard input, which is closed then. */
  readonly input?: string;
  /** Program and arguments that become shoal, for example `ip netns exec NAME`. */
  readonly through?: readonly string[];
  /** Permissions of files count for this process, though it may run as root. */
  readonly unprivileged?: boolean;
}

/** Root reads everything only by these two capabilities; without them it is an owner like any other. */
const withoutOverride = ['setpriv', '--bounding-set', '-dac_override,-dac_read_search', '--'];

/** A drain that takes longer than this is stuck. */
const stopPatienceMs = 45_000;

/** One `shoal` process and all that it has said. */
export class ShoalProcess {
  readonly pid: number;
  readonly args: readonly string[];
  readonly ended: Promise<Ending>;
  stdout = '';
  stderr = '';
  ending: Ending | undefined;
  readonly #child: ChildProcess;
  readonly #listeners = new Set<() => void>();

  constructor({ args, cwd, env, input, through = [], unprivileged = false }: Launch) {
    this.args = args;
    const drop = unprivileged && process.geteuid?.() === 0 ? withoutOverride : [];
    const shoal = [process.execPath, path.join(packageRoot, 'ops/bin/shoal.js'), ...args];
    const [program = '', ...rest] = [...drop, ...through, ...shoal];
    this.#child = spawn(program, rest, { cwd, env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.pid = this.#child.pid ?? 0;
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.#tell();
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.#child.stdin?.end(input ?? '');
    this.ended = once(this.#child, 'close').then(([code, signal]) => {
      this.ending = { code, signal };
      this.#tell();
      return this.ending;
    });
  }

  /** The first match in standard output, now or later. Rejects when the process ends without it or takes too long. */
  printed(pattern: RegExp, withinMs = 45_000): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        act();
      };
      const look = (): void => {
        const match = pattern.exec(this.stdout);
        if (match !== null) settle(() => resolve(match));
        else if (this.ending !== undefined) settle(() => reject(this.#complaint('ended without printing', pattern)));
      };
      const timer = setTimeout(
        () => settle(() => reject(this.#complaint(`did not in ${withinMs} ms print`, pattern))),
        withinMs,
      );
      this.#listeners.add(look);
      look();
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Asks it to drain; rejects unless it says that it has and exits 0. */
  async stop(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<void> {
    this.signal(signal);
    const timer = setTimeout(() => this.signal('SIGKILL'), stopPatienceMs);
    const ending = await this.ended;
    clearTimeout(timer);
    if (ending.code !== 0 || !this.stdout.includes('Drained.')) {
      throw this.#complaint(`was sent ${signal} and did not drain and exit with`, '0');
    }
  }

  /** SIGKILL: no last words. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended;
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #complaint(what: string, detail: RegExp | string): Error {
    const { code, signal } = this.ending ?? { code: 'still running', signal: null };
    return new Error(
      `shoal ${this.args.join(' ')}\n  ${what} ${detail} (exit ${signal ?? code})\n` +
        `--- stdout\n${this.stdout}\n--- stderr\n${this.stderr}`,
    );
  }
}
