import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { ShoalError } from '../../core/errors.js';

export type { Logger } from 'pino';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LoggerSettings {
  /** Lines below this level cost one comparison. */
  readonly level: string;
  /** `auto`: for people when standard error is a terminal, else one JSON object a line. */
  readonly format?: 'auto' | 'json' | 'pretty';
  /** Where lines go; standard error unless given, so that standard output stays for answers. */
  readonly destination?: DestinationStream;
}

/**
 * The root logger of a process. Components take `logger.child({ component: 'dispatcher' })`.
 * A `ShoalError` logged under `err` shows its code.
 * @throws BAD_SETTING for a level or format that does not exist.
 */
export function createLogger(settings: LoggerSettings): Logger {
  const { level, format = 'auto' } = settings;
  if (!isLogLevel(level)) {
    throw new ShoalError('BAD_SETTING', `The log level must be one of ${logLevels.join(', ')}; got "${level}".`);
  }
  const destination = settings.destination ?? pino.destination({ dest: 2, sync: true });
  const forPeople = format === 'pretty' || (format === 'auto' && settings.destination === undefined && isTerminal());
  const options: LoggerOptions = {
    level,
    base: { pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  };
  if (!forPeople) return pino({ ...options, formatters: { level: (label) => ({ level: label }) } }, destination);
  const render = prettyFactory({
    colorize: settings.destination === undefined && isTerminal(),
    ignore: 'pid,component',
    singleLine: true,
    messageFormat: '{if component}{component}: {end}{msg}',
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return pino(options, { write: (line) => destination.write(render(line)) });
}

const isLogLevel = (text: string): text is LogLevel => (logLevels as readonly string[]).includes(text);

const isTerminal = (): boolean => process.stderr.isTTY === true;

/** Expected failures need no stack: their sentence and code say it all. */
function describeError(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return thrown;
  if (thrown instanceof ShoalError && thrown.code !== 'INTERNAL') {
    return { type: thrown.name, code: thrown.code, message: thrown.message };
  }
  return { ...pino.stdSerializers.err(thrown), ...(thrown instanceof ShoalError ? { code: thrown.code } : {}) };
}
