#!/usr/bin/env -S node --max-semi-space-size=4
// The young generation is kept small on purpose (the flag above; `npm start` passes the same). Tensors live outside
// V8's heap and are freed by its cheap collections; with few objects in it a large young generation is collected so
// seldom that the bytes pile up until V8 runs a full collection instead, several times a second. See docs/BENCHMARKS.md.
import { existsSync } from 'node:fs';

const main = new URL('../../dist/ops/main.js', import.meta.url);
if (!existsSync(main)) {
  process.stderr.write('shoal: not built yet; run `npm run build` first\n');
  process.exit(1);
}
await import(main.href);
