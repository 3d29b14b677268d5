import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../../platform/package-root.js';

const compiledRooms = ['core', 'platform', 'coordinator', 'worker', 'loadbalancer', 'ops', 'bench'];

/** The part of TypeScript's build information that says which sources `dist` was made from. */
interface BuildInfo {
  readonly fileNames: readonly string[];
  /** One for each file name: the SHA-256 of its text, bare or in an object. */
  readonly fileInfos: readonly (string | { readonly version: string })[];
}

function builtFrom(dist: string): ReadonlyMap<string, string> {
  let text: string;
  try {
    text = readFileSync(path.join(dist, '.tsbuildinfo'), 'utf8');
  } catch (cause) {
    throw new Error('There is no dist/: these tests start the compiled program. Run `npm run build` first.', { cause });
  }
  const { fileNames, fileInfos } = JSON.parse(text) as BuildInfo;
  return new Map(
    fileInfos.map((info, index) => [
      path.resolve(dist, fileNames[index] ?? ''),
      typeof info === 'string' ? info : info.version,
    ]),
  );
}

/**
 * Throws when `dist/` was not compiled from the sources as they are now. Their texts are compared, not their dates:
 * a checkout changes dates, and the compiler rewrites only what has changed.
 */
export function requireFreshBuild(): void {
  const built = builtFrom(path.join(packageRoot, 'dist'));
  for (const room of compiledRooms) {
    for (const name of readdirSync(path.join(packageRoot, room), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      const source = path.join(packageRoot, room, name);
      const digest = createHash('sha256').update(readFileSync(source)).digest('hex');
      if (built.get(source) === digest) continue;
      throw new Error(
        `dist/ is older than ${room}/${name}: these tests start the compiled program. Run \`npm run build\`.`,
      );
    }
  }
}
