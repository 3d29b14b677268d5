import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface SmallFolder {
  readonly dir: string;
  remove(): void;
}

/** A folder in memory with so many bytes and no more: a mount of its own. Or why there can be none. */
export function smallFolder(bytes: number, options = ''): SmallFolder | string {
  const dir = mkdtempSync(path.join(tmpdir(), 'shoal-small-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}${options}`, 'shoal-test', dir], { stdio: 'pipe' });
  } catch (thrown) {
    rmSync(dir, { recursive: true });
    return `a folder of limited size cannot be mounted: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
  }
  return {
    dir,
    remove: () => {
      execFileSync('umount', [dir]);
      rmSync(dir, { recursive: true });
    },
  };
}
