import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  type FieldUse,
  fieldPaths,
  honouredParameters,
  ignoredParameters,
} from '../../../worker/repository/config-schema.js';

const docs = readFileSync(new URL('../../../docs/CONFIG-PBTXT.md', import.meta.url), 'utf8');
const section = (title: string): string => docs.split(/^## /m).find((part) => part.startsWith(title)) ?? '';
const firstColumn = (title: string): string[] =>
  [...section(title).matchAll(/^\| `([^`]+)` +\|/gm)].map((match) => match[1] ?? '');

test.each<[string, FieldUse]>([
  ['Honoured', 'honoured'],
  ['Known, without effect', 'ignored'],
  ['Refused', 'refused'],
])('the documented fields under "%s" are those of the code', (title, use) => {
  expect(firstColumn(title).sort()).toEqual(fieldPaths(use).sort());
});

test('the documented parameters are those of the code', () => {
  expect(firstColumn('Parameters').sort()).toEqual([...honouredParameters].sort());
  const prose = section('Parameters').split('Any other key')[1] ?? '';
  expect([...prose.matchAll(/`([^`]+)`/g)].map((match) => match[1]).sort()).toEqual([...ignoredParameters].sort());
});
