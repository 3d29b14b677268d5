import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../../platform/telemetry/logger.js';
import { ProfileStore, type StoredProfile, sha256OfFile } from '../../../worker/profile-store.js';
import { requireFreshBuild } from '../../support/fresh-build.js';
import { until } from './harness.js';

let root = '';
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), 'shoal-profiles-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const sha256 = createHash('sha256').update('a model').digest('hex');
const owner = { sha256, model: 'm', version: '1' };
const profile = (deviceClass: string, ms: number, threads = 2): StoredProfile => ({
  deviceClass,
  threads,
  points: [{ rows: 1, ms }],
});

function storeIn(folder: string) {
  const lines: string[] = [];
  const logger = createLogger({ level: 'warn', destination: { write: (line) => void lines.push(line) } });
  return { store: new ProfileStore({ folder, workerId: 'w/1', logger }), lines };
}

describe('stored profiles', () => {
  it('are named by the content of the model file, and merged class by class', async () => {
    const folder = path.join(root, 'merge');
    const [one, two] = [storeIn(folder), storeIn(folder)];
    expect(await one.store.read(sha256)).toEqual([]);
    await one.store.write(owner, [profile('cpu', 5), profile('cuda', 1)]);
    await two.store.write({ ...owner, model: 'renamed' }, [profile('cpu', 7), profile('cpu', 3, 8)]);
    expect(await one.store.read(sha256)).toEqual([profile('cuda', 1), profile('cpu', 7), profile('cpu', 3, 8)]);
    expect(await one.store.read(createHash('sha256').update('another').digest('hex'))).toEqual([]);
    expect(readdirSync(folder)).toEqual([`${sha256}.json`]);
    expect([...one.lines, ...two.lines]).toEqual([]);
  });

  it.each([
    ['empty', ''],
    ['cut off', '{"format":1,"sha256":"'],
    ['of another release', JSON.stringify({ format: 2, ...owner, profiles: [] })],
    ['of another model', JSON.stringify({ format: 1, ...owner, sha256: 'f'.repeat(64), profiles: [] })],
    ['impossible', JSON.stringify({ format: 1, ...owner, profiles: [{ ...profile('cpu', -1) }] })],
    ['enormous', ' '.repeat(2 << 20)],
  ])('are left aside with a warning when the file is %s, and written anew', async (name, content) => {
    const folder = path.join(root, `bad-${name}`);
    mkdirSync(folder);
    writeFileSync(path.join(folder, `${sha256}.json`), content);
    const { store, lines } = storeIn(folder);
    expect(await store.read(sha256)).toEqual([]);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/The latency profiles in .* are left aside: /);
    await store.write(owner, [profile('cpu', 5)]);
    expect(await store.read(sha256)).toEqual([profile('cpu', 5)]);
  });

  it('cost one warning where they cannot be written, and no failure', async () => {
    const file = path.join(root, 'a-file');
    writeFileSync(file, '');
    const { store, lines } = storeIn(path.join(file, 'profiles'));
    for (let i = 0; i < 3; i++) await store.write(owner, [profile('cpu', 5)]);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/Latency profiles cannot be kept in .*a-file\/profiles: .*ENOTDIR/);
  });

  it('outlive writers that are killed while they write beside each other', async () => {
    requireFreshBuild();
    const folder = path.join(root, 'killed');
    const leftovers: string[] = [];
    for (let round = 0; round < 6; round++) {
      const children = ['cpu', 'cuda'].map((deviceClass) =>
        spawn(process.execPath, [path.join(import.meta.dirname, 'writing-profiles.mjs'), folder, sha256, deviceClass]),
      );
      let written = 0;
      for (const child of children) child.stdout.on('data', (data: Buffer) => (written += data.length));
      const gone = children.map((child) => once(child, 'close'));
      await until('writes', () => written > 20 + round * 3);
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(gone);
      const { store, lines } = storeIn(folder);
      const stored = await store.read(sha256);
      expect(lines).toEqual([]);
      expect(stored.length).toBeGreaterThan(0);
      // Whole: all points are of one round.
      for (const { points } of stored)
        expect([points.length, new Set(points.map(({ ms }) => ms)).size]).toEqual([60, 1]);
      leftovers.push(...readdirSync(folder).filter((name) => name.endsWith('.tmp')));
    }
    // What a killed writer had begun is nobody's profile, and goes when it is old.
    const begun = path.join(folder, `${sha256}.json.cpu.1.1.tmp`);
    writeFileSync(begun, '{"format":1');
    for (const name of [...leftovers, path.basename(begun)]) utimesSync(path.join(folder, name), 1, 1);
    const fresh = path.join(folder, `${sha256}.json.cpu.2.1.tmp`);
    writeFileSync(fresh, '');
    const { store } = storeIn(folder);
    await store.write(owner, [profile('webgpu', 1)]);
    expect(readdirSync(folder).sort()).toEqual([`${sha256}.json`, path.basename(fresh)]);
  });
});

it('a file is hashed by its content, whatever its size', async () => {
  const file = path.join(root, 'model.onnx');
  const content = Buffer.alloc(3_000_001, 7);
  writeFileSync(file, content);
  expect(await sha256OfFile(file)).toBe(createHash('sha256').update(readFileSync(file)).digest('hex'));
  await expect(sha256OfFile(path.join(root, 'nowhere'))).rejects.toThrow('ENOENT');
});
