import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { errorKinds, GrpcStatus } from '../../../core/errors.js';

test('docs/ERRORS.md is the registry, row by row', () => {
  const text = readFileSync(new URL('../../../docs/ERRORS.md', import.meta.url), 'utf8');
  // The formatter pads table cells.
  const lines = text.split('\n').map((line) => line.replaceAll(/ +/g, ' '));
  const documented = lines.filter((line) => /^\| `[A-Z_]+` \|/.test(line));
  const statusName = (status: number) => Object.entries(GrpcStatus).find(([, number]) => number === status)?.[0];
  const registered = Object.entries(errorKinds).map(
    ([code, { grpc, http, retryable, advice }]) =>
      `| \`${code}\` | ${statusName(grpc)} | ${http} | ${retryable ? 'yes' : 'no'} | ${advice} |`,
  );
  expect(documented).toEqual(registered);
});
