import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The compiled program of the executor process. When this code itself runs uncompiled (a test runner transforms it
 * on the fly), a child process cannot, so the build output beside the sources is used.
 */
export function executorEntry(): string {
  const here = fileURLToPath(import.meta.url);
  const folder = path.dirname(here);
  if (!here.endsWith('.ts')) return path.join(folder, 'main.js');
  return path.resolve(folder, '../../dist/worker/executor/main.js');
}
