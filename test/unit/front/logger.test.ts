import { expect, test } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import { createLogger } from '../../../platform/telemetry/logger.js';

function collecting() {
  const lines: string[] = [];
  return { lines, destination: { write: (line: string) => void lines.push(line) } };
}

test('lines are JSON with level, component and the error code', () => {
  const { lines, destination } = collecting();
  const logger = createLogger({ level: 'info', destination });
  const child = logger.child({ component: 'dispatcher' });
  child.debug('not this');
  child.warn({ err: new ShoalError('WORKER_LOST', 'Worker w1 went away.') }, 'batch lost');
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 'warn',
    component: 'dispatcher',
    msg: 'batch lost',
    err: { code: 'WORKER_LOST', message: 'Worker w1 went away.' },
  });
  expect(lines[0]).not.toContain('stack');
});

test('what nobody foresaw is logged with its stack', () => {
  const { lines, destination } = collecting();
  createLogger({ level: 'info', destination }).error({ err: ShoalError.from(new TypeError('boom')) }, 'broken');
  const { err } = JSON.parse(lines[0] ?? '');
  expect(err).toMatchObject({ code: 'INTERNAL' });
  expect(err.stack).toContain('boom');
});

test('for people a line starts with its component', async () => {
  const { lines, destination } = collecting();
  createLogger({ level: 'info', format: 'pretty', destination }).child({ component: 'door' }).info('open');
  await expect.poll(() => lines.join('')).toContain('door: open');
});

test('a level that does not exist is a bad setting', () => {
  expect(() => createLogger({ level: 'loud' })).toThrowError(
    expect.objectContaining({ code: 'BAD_SETTING', message: expect.stringContaining('"loud"') }),
  );
});
