import { CommanderError } from 'commander';
import { describe, expect, test } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import { cliReference, helpTexts } from '../../../ops/cli-reference.js';
import { configText } from '../../../ops/commands/config.js';
import { failureLine, outcomeOf } from '../../../ops/failure.js';
import { parseFactor, parseWhole } from '../../../ops/option-values.js';
import { usageLine } from '../../../ops/program.js';
import { packageRoot } from '../../../platform/package-root.js';
import { inspectSettings } from '../../../platform/settings/resolve.js';

test('docs/CLI.md is what the commands say of themselves', async () => {
  const text = cliReference();
  expect(text).not.toContain(packageRoot);
  await expect(text).toMatchFileSnapshot('../../../docs/CLI.md');
});

test.each(helpTexts().filter(({ command }) => command !== 'shoal help'))(
  '$command has examples',
  ({ command, help }) => {
    expect(help).toContain('Examples:');
    expect(help.split('Examples:')[1]).toContain(command);
  },
);

describe('failures', () => {
  test('are one line with the advice, once', () => {
    const error = new ShoalError('QUEUE_FULL', 'The queue\nis full.');
    expect(failureLine(error)).toBe('shoal: The queue is full. Retry after a pause, or add workers.');
    const told = new ShoalError('QUEUE_FULL', 'The queue is full. Retry after a pause, or add workers.');
    expect(failureLine(told)).toBe('shoal: The queue is full. Retry after a pause, or add workers.');
  });

  test('lose what grpc-js wraps around them', () => {
    const message =
      'Cannot reach x: No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: .';
    expect(failureLine(new ShoalError('NO_WORKER', message))).toMatch(
      /^shoal: Cannot reach x: connect ECONNREFUSED 127\.0\.0\.1:1\. `shoal workers`/,
    );
  });

  test.each([
    [new ShoalError('BAD_SETTING', 'x.'), 2],
    [new ShoalError('BAD_FILE', 'x.'), 2],
    [new ShoalError('MODEL_NOT_FOUND', 'x.'), 1],
    [new Error('x'), 1],
    [new CommanderError(1, 'commander.unknownOption', 'x'), 2],
    [new CommanderError(0, 'commander.helpDisplayed', 'x'), 0],
  ])('%s ends with %i', (thrown, exitCode) => {
    expect(outcomeOf(thrown, false).exitCode).toBe(exitCode);
  });

  test('the stack and the causes are for SHOAL_DEBUG only', () => {
    const error = new ShoalError('INTERNAL', 'Outer.', { cause: new Error('inner') });
    expect(outcomeOf(error, false).text?.split('\n')).toHaveLength(1);
    expect(outcomeOf(error, true).text).toMatch(/Outer\..*command-line\.test.*caused by: Error: inner/s);
  });

  test('mistyped commands are told in one line', () => {
    expect(usageLine("error: unknown option '--grcp-port'\n(Did you mean --grpc-port?)\n")).toBe(
      "shoal: Unknown option '--grcp-port' (Did you mean --grpc-port?) See `shoal --help`.",
    );
  });
});

describe('values of flags', () => {
  test('whole numbers within bounds', () => {
    const parse = parseWhole('--top', 1, 10);
    expect([parse('1'), parse('10')]).toEqual([1, 10]);
    for (const bad of ['0', '11', '1.5', '', 'x', '-1']) {
      expect(() => parse(bad)).toThrow(`The flag --top is "${bad}"; expected a whole number from 1 to 10.`);
    }
  });

  test('factors may be fractions', () => {
    const parse = parseFactor('--scale');
    expect([parse('1/255'), parse('0.5'), parse('-2'), parse('1e-3')]).toEqual([1 / 255, 0.5, -2, 0.001]);
    for (const bad of ['0', '1/0', 'x', '', '1/', '.']) expect(() => parse(bad)).toThrow('like 1 or 1/255');
  });
});

test('shoal config shows values, origins and what is wrong', () => {
  const facts = {
    role: 'worker',
    workingFolder: '/w',
    bundledModels: '/b',
    hostName: 'reef',
    address: '10.0.0.2',
    pid: 7,
    memoryFolder: '/dev/shm',
  } as const;
  const resolution = inspectSettings({
    flags: {},
    environment: { SHOAL_DEVICES: 'cpu,gpu:1', SHOAL_LINK_PORT: 'x' },
    file: { path: 's.yaml', label: 's.yaml', text: 'log-level: warn\n' },
    facts,
  });
  const table = configText(resolution, 'table', 'worker');
  expect(table).toMatch(/^devices +cpu,gpu:1 +SHOAL_DEVICES$/m);
  expect(table).toMatch(/^log-level +warn +s\.yaml:1$/m);
  expect(table).toMatch(/^link-port +x +SHOAL_LINK_PORT {2}BAD: expected a port/m);
  expect(table).toMatch(/^join +- +default$/m);
  expect(table).not.toContain('grpc-port');
  expect(JSON.parse(configText(resolution, 'json', 'worker')).devices).toEqual({
    value: ['cpu', 'gpu:1'],
    origin: 'SHOAL_DEVICES',
  });
  const good = inspectSettings({ flags: {}, environment: {}, file: undefined, facts });
  const again = inspectSettings({
    flags: {},
    environment: {},
    file: { path: 's.yaml', label: 's.yaml', text: configText(good, 'yaml', 'worker') },
    facts,
  });
  expect(again.problems).toEqual([]);
  expect(again.settings.map(({ value }) => value)).toEqual(good.settings.map(({ value }) => value));
});
