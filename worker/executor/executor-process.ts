import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import type { Duplex } from 'node:stream';
import { ShoalError } from '../../core/errors.js';
import { executorEntry } from './entry.js';
import { FrameSplitter } from './frames.js';
import { decodeFromExecutor, encodeToExecutor, type FromExecutor, type ToExecutor } from './protocol.js';
import { openSlab } from './slab.js';

export interface ProcessOptions {
  /** Shown in the process list and in messages: `magika/1 #0`. */
  readonly name: string;
  /** Folder in which slabs are made; should be in memory. */
  readonly slabDir: string;
  /** Pairs of slabs, one pair for each batch that may be with the executor at once. */
  readonly slots: number;
  /** Variables added to the child's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

const lastWordsBytes = 2048;

/** An executor's operating-system process with its pipes and slabs: what it means is `Executor`'s to know. */
export class ExecutorProcess {
  readonly name: string;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  readonly #slabFds: readonly number[];
  #lastWords = '';

  /** @throws OUT_OF_SPACE, BAD_SETTING for a slab folder that cannot be used; EXECUTOR_CRASHED when no process starts. */
  static async start(options: ProcessOptions): Promise<ExecutorProcess> {
    const { name, slabDir, slots } = options;
    const slabFds: number[] = [];
    try {
      while (slabFds.length < 2 * slots) slabFds.push(openSlab(slabDir));
      const child = spawn(process.execPath, [executorEntry(), name, String(slots), slabDir, String(process.pid)], {
        stdio: ['ignore', 'ignore', 'pipe', 'pipe', ...slabFds],
        env: { ...process.env, ...options.env },
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      });
      return new ExecutorProcess(child, slabFds, name);
    } catch (thrown) {
      for (const fd of slabFds) fs.closeSync(fd);
      if (thrown instanceof ShoalError) throw thrown;
      const text = thrown instanceof Error ? thrown.message : String(thrown);
      throw new ShoalError('EXECUTOR_CRASHED', `The executor ${name} cannot be started: ${text}.`, { cause: thrown });
    }
  }

  private constructor(child: ChildProcess, slabFds: readonly number[], name: string) {
    this.name = name;
    this.pid = child.pid ?? 0;
    this.#child = child;
    this.#slabFds = slabFds;
    this.#control = child.stdio[3] as Duplex;
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#lastWords = (this.#lastWords + chunk.toString('utf8')).slice(-lastWordsBytes);
    });
    // A broken pipe is the child's end; its exit tells why.
    this.#control.on('error', () => undefined);
  }

  /** Must be called at once after `start`. `gone` comes last, when everything the process said has been read. */
  listen(message: (message: FromExecutor) => void, gone: (crash: ShoalError) => void): void {
    const splitter = new FrameSplitter();
    this.#control.on('data', (chunk: Buffer) => splitter.push(chunk, (body) => message(decodeFromExecutor(body))));
    this.#child.once('close', (code, signal) => {
      this.#control.destroy();
      for (const fd of this.#slabFds) fs.closeSync(fd);
      gone(this.#crash(code, signal));
    });
  }

  send(message: ToExecutor): void {
    this.#control.write(encodeToExecutor(message));
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** One pair for each slot; their descriptors are closed before `gone` is told. */
  get slabs(): { readonly inputFd: number; readonly outputFd: number }[] {
    const pairs = Array.from({ length: this.#slabFds.length / 2 }, (_, slot) => this.#slabFds.slice(2 * slot));
    return pairs.map(([inputFd = -1, outputFd = -1]) => ({ inputFd, outputFd }));
  }

  #crash(code: number | null, signal: NodeJS.Signals | null): ShoalError {
    const how =
      signal === 'SIGKILL'
        ? 'was killed by SIGKILL (as the kernel does when memory runs out)'
        : signal !== null
          ? `died of ${signal}`
          : `exited with code ${code}`;
    const words = this.#lastWords.replace(/\s+/g, ' ').trim().slice(-600);
    const said = words === '' ? 'it left no message' : `its last words: ${words}`;
    return new ShoalError('EXECUTOR_CRASHED', `The executor ${this.name} ${how}; ${said}.`);
  }
}
