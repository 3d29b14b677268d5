import { describe, expect, test } from 'vitest';
import { closestName, editDistance } from '../../../platform/settings/closest-name.js';
import { settingsReference } from '../../../platform/settings/reference.js';
import { settingNames, settingSchema } from '../../../platform/settings/schema.js';
import type { Setting, SettingFacts } from '../../../platform/settings/setting.js';

const facts: SettingFacts = {
  role: 'worker',
  workingFolder: '/home/ada',
  bundledModels: '/opt/models',
  hostName: 'reef',
  address: '10.1.2.3',
  pid: 42,
  memoryFolder: '/dev/shm',
};

describe('every setting', () => {
  test.each(settingNames)('%s has one name in three spellings and a default that it accepts itself', (name) => {
    const setting: Setting<unknown> = settingSchema[name];
    expect(setting.flag).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(name).toBe(setting.flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase()));
    expect(setting.variable).toBe(`SHOAL_${setting.flag.replaceAll('-', '_').toUpperCase()}`);
    const value = setting.compiledDefault(facts);
    expect(setting.compile(value, facts.workingFolder)).toEqual({ value });
    expect(setting.compile(setting.show(value), facts.workingFolder)).toEqual({ value });
    for (const role of setting.roles) expect(setting.defaultText(role)).not.toBe('');
    expect(setting.description).toMatch(/\.$/);
  });
});

test('docs/SETTINGS.md is what the schema says', async () => {
  await expect(settingsReference()).toMatchFileSnapshot('../../../docs/SETTINGS.md');
});

describe('closest name', () => {
  test.each([
    ['kitten', 'sitting', 3],
    ['grcp', 'grpc', 1],
    ['', 'abc', 3],
    ['same', 'same', 0],
  ])('%s and %s are %i edits apart', (a, b, edits) => {
    expect(editDistance(a, b)).toBe(edits);
    expect(editDistance(b, a)).toBe(edits);
  });

  test('suggests what is near and nothing that is far', () => {
    const names = ['grpc-port', 'http-port', 'devices'];
    expect(closestName('grpc_port', names)).toBe('grpc-port');
    expect(closestName('port', names)).toBeDefined();
    expect(closestName('banana', names)).toBeUndefined();
  });
});
