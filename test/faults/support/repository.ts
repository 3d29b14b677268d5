import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { generateBenchModels, generateSlowModel } from '../../../bench/models/generate.js';

export interface Repository {
  readonly dir: string;
  remove(): void;
}

/** `affine` and models that take `slowMs` each, all y = 2x + 1, with so many instances. */
export async function repository(
  options: { readonly instances?: number; readonly slow?: Readonly<Record<string, number>>; affine?: boolean } = {},
): Promise<Repository> {
  const { instances = 1, slow = {}, affine = true } = options;
  const dir = mkdtempSync(path.join(tmpdir(), 'shoal-faults-'));
  if (affine) await generateBenchModels(dir, ['affine']);
  for (const [name, milliseconds] of Object.entries(slow)) await generateSlowModel(dir, { name, milliseconds });
  for (const name of [...(affine ? ['affine'] : []), ...Object.keys(slow)]) {
    editConfig(dir, name, (text) => text.replace(/count: \d+/, `count: ${instances}`));
  }
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

export function editConfig(dir: string, model: string, edit: (text: string) => string): void {
  const file = path.join(dir, model, 'config.pbtxt');
  writeFileSync(file, edit(readFileSync(file, 'utf8')));
}
