import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CapacityAnswer } from '../../bench/sim/capacity/planner.js';
import { packageRoot } from '../../platform/package-root.js';
import { requireFreshBuild } from '../support/fresh-build.js';
import { runShoal } from '../support/shoal-command.js';

const folder = mkdtempSync(join(tmpdir(), 'shoal-simulations-'));
const file = (name: string): string => join(folder, name);
beforeAll(requireFreshBuild);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('shoal plan', () => {
  test('answers for a trace and measured profiles, as text and as JSON', async () => {
    const lines = Array.from({ length: 2000 }, (_, index) => {
      const model = index % 4 === 0 ? 'small' : 'big';
      return JSON.stringify({ atMs: index * 2, model, rows: 1 + (index % 3), deadlineMs: 150 });
    });
    writeFileSync(file('trace.jsonl'), `${lines.join('\n')}\n`);
    const points = [
      { rows: 1, ms: 9 },
      { rows: 16, ms: 20 },
    ];
    writeFileSync(file('profiles.json'), JSON.stringify([{ model: 'big', max: 16, points }]));
    const args = ['plan', '--trace', file('trace.jsonl'), '--profile', file('profiles.json'), 'small=1+0.1*rows'];
    const slo = ['--slo', 'p99<120ms,goodput>=99%'];
    const json = await runShoal([...args, ...slo, '--output', 'json']);
    expect(json.stderr).toBe('');
    expect(json.code).toBe(0);
    const answer = JSON.parse(json.stdout) as CapacityAnswer & { readonly load: object };
    expect(answer.load).toEqual({ requests: 2000, rows: 3999, seconds: 3.998, seed: 1 });
    expect(answer.workers).toBeGreaterThanOrEqual(1);
    expect(answer.attempts.find(({ workers }) => workers === answer.workers)).toMatchObject({ meets: true });
    const text = await runShoal([...args, ...slo]);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/^2,000 requests of 3,999 rows in 4 s, seed 1; wanted: p99 ≤ 120 ms, goodput ≥ 99 %\n/);
    expect(text.stdout).toMatch(/WORKERS +P50 MS +P99 MS +IN TIME +REFUSED +BATCH +BUSY\n/);
    expect(text.stdout).toMatch(/\n\d+ workers? meets? it\. When one dies at half time, from then on:\n/);
  });

  test.each<[string, string[], number, RegExp]>([
    ['no load', ['--profile', 'a=1', '--slo', 'p99<1s'], 2, /^shoal: Give the load as --trace FILE or as --rate /],
    ['a wrong objective', ['--rate', '1', '--profile', 'a=1', '--slo', 'fast'], 2, /^shoal: --slo wants objectives /],
    [
      'a wrong line',
      ['--trace', file('wrong.jsonl'), '--profile', 'a=1', '--slo', 'p99<1s'],
      2,
      /^shoal: Line 2 of .*wrong\.jsonl is not a request: rows: .* `shoal plan --help` shows /,
    ],
  ])('%s is one line on stderr and an exit code', async (_, args, code, line) => {
    writeFileSync(file('wrong.jsonl'), '{"atMs": 0, "model": "a"}\n{"atMs": 1, "model": "a", "rows": 0}\n');
    const ended = await runShoal(['plan', ...args]);
    expect(ended.stderr).toMatch(line);
    expect(ended.stderr.trim().split('\n')).toHaveLength(1);
    expect(ended.code).toBe(code);
    expect(ended.stdout).toBe('');
  });

  test('no number of workers is a failure with the table all the same', async () => {
    const args = ['plan', '--rate', '50', '--duration', '2s', '--profile', 'a=80,max=1', '--slo', 'p50<50ms'];
    const ended = await runShoal(args);
    expect(ended.code).toBe(1);
    expect(ended.stdout).toContain('No number of workers that was tried meets it.');
  });
});

describe('npm run sim', () => {
  const sim = (...args: string[]) =>
    spawnSync(process.execPath, [join(packageRoot, 'dist', 'bench', 'sim', 'main.js'), ...args], { encoding: 'utf8' });

  test('prints the seed, a summary and VALID, and writes a trace', () => {
    const size = ['--workers', '3', '--models', '2', '--seconds', '1'];
    const ended = sim('--scenario', 'mixed', '--seed', '5', ...size, '--trace', file('trace.txt'));
    expect(ended.stderr).toBe('');
    expect(ended.status).toBe(0);
    expect(ended.stdout).toMatch(
      /^seed 5\nscenario +mixed, seed 5\nsize +3 workers, 2 models, 1 s of load, 1 faults\n/,
    );
    expect(ended.stdout).toMatch(/\nVALID\ntook .* events a second\n$/);
    expect(readFileSync(file('trace.txt'), 'utf8')).toMatch(
      /^ +\d+\.\d{3} ms {2}w\d → coordinator: hello, \d versions\n/,
    );
    const fresh = sim('--scenario', 'calm', ...size);
    expect(fresh.stdout).toMatch(/^seed \d+\n/);
  });

  test('refuses what it does not know', () => {
    const ended = sim('--scenario', 'chaos');
    expect(ended.status).toBe(1);
    expect(ended.stderr).toMatch(/^sim: --scenario wants calm or overload or .*, and got "chaos"\.\n$/);
  });

  test('measures what scheduling costs', () => {
    const ended = sim('--measure', '--requests', '1000');
    expect(ended.stderr).toBe('');
    expect(ended.stdout).toMatch(/\n4 workers, 4 models +\d+\.\d\d µs a request/);
    expect(ended.stdout).toMatch(/\n1,000 workers, 1,000 models +\d+\.\d\d µs a request/);
    expect(ended.stdout).toMatch(/\nratio \d+\.\d\d; of the simulator's own code/);
    expect(ended.stdout).toMatch(/\nHeap of 10000 idle models: \d+ bytes each of the coordinator's own, /);
  });
});
