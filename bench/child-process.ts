import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ShoalError } from '../core/errors.js';

/**
 * The compiled form of `bench/NAME.js`: beside this file when it is compiled itself, else in `dist/` (tests run
 * the sources directly, child processes cannot).
 */
function compiled(name: string): string {
  const beside = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  const built = fileURLToPath(new URL(`../dist/bench/${name}.js`, import.meta.url));
  for (const path of [beside, built]) if (existsSync(path)) return path;
  throw new ShoalError('INTERNAL', `The harness is not built: ${built} does not exist; run \`npm run build\`.`);
}

/** Processes a child's messages may be waited for; anything unexpected is an error, the exit included. */
export interface Child<Sent, Received> {
  send(message: Sent): void;
  /** Calls `see` for every message until it returns a value, and resolves with that. */
  until<T>(see: (message: Received) => T | undefined): Promise<T>;
  kill(): void;
  readonly pid: number;
}

/**
 * Forks a process of the harness. Binary data cross as they are.
 * @param cpus a list as `taskset -c` takes it (`1`, `0-3`, `1,3`); empty: not pinned
 */
export function forkChild<Sent extends object, Received>(
  entry: string,
  cpus: string,
  args: readonly string[] = [],
): Child<Sent, Received> {
  // Requests and answers live outside V8's heap, and few objects in it: a small young generation stays in the cache.
  const nodeArgs = ['--max-semi-space-size=2'];
  const pinned = cpus === '' ? {} : { execPath: 'taskset', execArgv: ['-c', cpus, process.execPath, ...nodeArgs] };
  const child: ChildProcess = fork(compiled(entry), args, {
    execArgv: nodeArgs,
    ...pinned,
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  let listener: ((message: Received) => void) | undefined;
  let fail: ((error: ShoalError) => void) | undefined;
  const backlog: Received[] = [];
  let failure: ShoalError | undefined;
  const ended = (why: string): void => {
    failure ??= new ShoalError('INTERNAL', `The harness process ${entry} ${why}.`);
    fail?.(failure);
  };
  child.on('message', (message) => {
    if (listener === undefined) backlog.push(message as Received);
    else listener(message as Received);
  });
  child.on('error', (error) => ended(`could not be started: ${error.message}`));
  child.on('exit', (code, signal) => ended(`ended early (${signal ?? `exit code ${code}`})`));
  return {
    pid: child.pid ?? 0,
    send: (message) => {
      // A child that is gone is reported by `until`.
      child.send(message, () => undefined);
    },
    until: (see) =>
      new Promise((resolve, reject) => {
        const settle = (act: () => void): void => {
          listener = undefined;
          fail = undefined;
          act();
        };
        fail = (error) => settle(() => reject(error));
        listener = (message) => {
          try {
            const seen = see(message);
            if (seen !== undefined) settle(() => resolve(seen));
          } catch (thrown) {
            settle(() => reject(thrown));
          }
        };
        while (backlog.length > 0 && listener !== undefined) {
          const message = backlog.shift();
          if (message !== undefined) listener(message);
        }
        if (failure !== undefined) fail?.(failure);
      }),
    kill: () => {
      child.kill('SIGKILL');
    },
  };
}
