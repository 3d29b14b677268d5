import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

function nearestPackage(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) throw new Error(`no package.json in or above ${start}`);
  }
}

/** Absolute path of the package, whether this runs from source (`platform/`) or compiled (`dist/platform/`). */
export const packageRoot: string = nearestPackage(import.meta.dirname);

/** Absolute path of a wire contract, such as `protoFile('inference.proto')`. */
export const protoFile = (name: string): string => join(packageRoot, 'proto', name);
