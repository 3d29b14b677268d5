import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../../platform/package-root.js';
import { play } from '../../support/scenario-play.js';

const folder = path.join(packageRoot, 'test/scenarios');

/** `SHOAL_REWRITE=1 npx vitest run scenarios` writes what is decided now; the diff is then to be read. */
const rewrite = process.env.SHOAL_REWRITE === '1';

describe('scenarios', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.txt'));

  it.each(files)('%s', (name) => {
    const file = path.join(folder, name);
    const script = readFileSync(file, 'utf8');
    const played = play(script);
    expect(script, 'a scenario without a decision holds nothing').toMatch(/^(at \S+ )?decide$/m);
    if (rewrite) writeFileSync(file, played);
    else expect(played).toBe(script);
  });

  it('would notice a decision that differs', () => {
    const script = 'lane m max=8\nworker w1\nat 0ms add a\nat 0ms decide\n  → w1: b (1 row, idle)\n';
    expect(play(script)).toBe(script.replace('b (', 'a ('));
    expect(() => play('lane m max=8 delya=5ms')).toThrow("line 1, 'lane m max=8 delya=5ms'");
  });
});
