import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../../platform/package-root.js';

/** Reads the source itself: rules that no compiler or linter holds. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: packageRoot,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(packageRoot, file)));
const read = (file: string): string => readFileSync(join(packageRoot, file), 'utf8');
const sources = files.filter((file) => file.endsWith('.ts'));
const products = sources.filter((file) => !file.startsWith('test/') && !file.endsWith('.config.ts'));
const texts = files.filter((file) => /\.(ts|js|cjs|mjs|json|md|proto|yaml|yml|sh|pbtxt)$|^\.ci\/|^\.npmrc$/.test(file));

const offenders = (list: string[], pattern: RegExp): string[] =>
  list.flatMap((file) =>
    read(file)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  );

describe('the source', () => {
  it('takes time and chance from one place each', () => {
    const ambient = /\b(Date\.now|performance\.now|Math\.random|process\.hrtime)\b|new Date\(\)/;
    const allowed = ['core/clock.ts', 'core/random.ts'];
    expect(
      offenders(
        products.filter((file) => !allowed.includes(file)),
        ambient,
      ),
    ).toEqual([]);
  });

  it('has no file that is two', () => {
    const lines = (file: string): number => read(file).split('\n').length;
    expect(sources.filter((file) => lines(file) > 600)).toEqual([]);
    expect(products.filter((file) => lines(file) > 380)).toEqual([]);
  });

  it('has no rooms for odds and ends', () => {
    expect(files.filter((file) => /(^|\/)(types|utils?|helpers?|managers?|misc|common)\.ts$/.test(file))).toEqual([]);
  });

  it('switches no test off and leaves no note to self', () => {
    const self = 'test/unit/tidy/tidy.test.ts';
    expect(
      offenders(
        sources.filter((file) => file !== self),
        /\b(it|test|describe)\.(only|skip|todo)\(|\b(TODO|FIXME|XXX)\b|@ts-ignore|@ts-expect-error|as any\b/,
      ),
    ).toEqual([]);
  });

  it('does not wait by the clock where it should wait for something', () => {
    const allowed = ['test/support/eventually.ts', 'test/unit/tidy/tidy.test.ts'];
    const sleeps = /await new Promise\(\(?\w*\)? => setTimeout\(/;
    expect(
      offenders(
        sources.filter((file) => file.startsWith('test/') && !allowed.includes(file)),
        sleeps,
      ),
    ).toEqual([]);
  });

  it('names no address of a package registry and no path of a build machine', () => {
    const self = 'test/unit/tidy/tidy.test.ts';
    const hosts = /registry\.(npmjs|yarnpkg)|deb\.debian\.org|"resolved":|\/work\/(main|shared|wt-)/;
    expect(
      offenders(
        texts.filter((file) => file !== self),
        hosts,
      ),
    ).toEqual([]);
  });

  it('tells in every room what the room is for', () => {
    const rooms = readdirSync(packageRoot, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && sources.some((file) => file.startsWith(`${entry.name}/`)))
      .map((entry) => `${entry.name}/README.md`);
    expect(rooms.filter((file) => !existsSync(join(packageRoot, file)))).toEqual([]);
  });
});
