import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { eventually } from '../../support/eventually.js';

/** A control group with a limit on memory; its processes meet a real out-of-memory kill there. */
export class MemoryLimit {
  readonly #folder: string;
  readonly #version: 1 | 2;

  private constructor(folder: string, version: 1 | 2) {
    this.#folder = folder;
    this.#version = version;
  }

  /** Or why there can be none on this machine. */
  static make(limitBytes: number): MemoryLimit | string {
    const name = `shoal-test-${process.pid}`;
    const tried: string[] = [];
    for (const [version, root] of [
      [2, '/sys/fs/cgroup'],
      [1, '/sys/fs/cgroup/memory'],
    ] as const) {
      const folder = path.join(root, name);
      const limitFile = path.join(folder, version === 2 ? 'memory.max' : 'memory.limit_in_bytes');
      try {
        if (version === 2 && !existsSync(path.join(root, 'cgroup.controllers'))) throw new Error('not mounted');
        mkdirSync(folder);
        if (!existsSync(limitFile)) throw new Error('the memory controller is not enabled there');
        writeFileSync(limitFile, String(limitBytes));
        return new MemoryLimit(folder, version);
      } catch (thrown) {
        tried.push(`${root}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
        if (existsSync(folder)) rmdirSync(folder);
      }
    }
    return tried.join('; ');
  }

  /** Program and arguments that run another program inside. */
  get through(): string[] {
    return ['sh', '-c', `echo $$ > ${this.#folder}/cgroup.procs && exec "$@"`, 'sh'];
  }

  /** Processes the kernel has killed here. */
  get kills(): number {
    const file = this.#version === 2 ? 'memory.events' : 'memory.oom_control';
    const text = readFileSync(path.join(this.#folder, file), 'utf8');
    return Number(/^oom_kill (\d+)/m.exec(text)?.[1] ?? Number.NaN);
  }

  /** Once nothing runs in it. */
  async remove(): Promise<void> {
    await eventually(() => rmdirSync(this.#folder));
  }
}
