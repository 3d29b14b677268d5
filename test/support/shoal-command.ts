import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../platform/package-root.js';
import { eventually } from './eventually.js';

export interface Ended {
  /** null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A `shoal` command as its own process, from the compiled code. Its environment holds no setting but those given. */
export class ShoalCommand {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SHOAL_'));
    this.child = spawn(process.execPath, [join(packageRoot, 'ops', 'bin', 'shoal.js'), ...args], {
      cwd: packageRoot,
      env: { ...Object.fromEntries(inherited), ...environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code) => resolve({ code, stdout: this.#stdout, stderr: this.#stderr }));
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** Waits until standard output matches; throws with all that was written when it does not in time or the process ends. */
  printed(pattern: RegExp, withinMs = 30_000): Promise<RegExpExecArray> {
    return eventually(() => {
      const match = pattern.exec(this.#stdout);
      if (match === null) throw new Error(`${pattern} was not printed in:\n${this.#stdout}\n${this.#stderr}`);
      return match;
    }, withinMs);
  }
}

/** Runs a command to its end, with `input` on standard input. */
export function runShoal(
  args: readonly string[],
  options: { readonly input?: string; readonly environment?: Readonly<Record<string, string>> } = {},
): Promise<Ended> {
  const running = new ShoalCommand(args, options.environment);
  running.child.stdin?.end(options.input ?? '');
  return running.ended;
}
