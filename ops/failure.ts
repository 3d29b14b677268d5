import { CommanderError } from 'commander';
import { type ErrorCode, ShoalError } from '../core/errors.js';

export const ExitCode = {
  OK: 0,
  FAILURE: 1,
  /** A bad setting or a mistyped command; nothing was done. */
  USAGE: 2,
  /** 128 + SIGINT, as shells have it. */
  INTERRUPTED: 130,
} as const;

const usageCodes: readonly ErrorCode[] = ['BAD_SETTING', 'BAD_FILE', 'BAD_TRACE'];

/** What an uncaught failure of a command comes to: the process's exit code and what to print, if anything. */
export function outcomeOf(
  thrown: unknown,
  debug: boolean,
): { readonly exitCode: number; readonly text: string | undefined } {
  if (thrown instanceof CommanderError) {
    // Commander has printed its message by itself; help and version that were asked for are no failure.
    return { exitCode: thrown.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE, text: undefined };
  }
  const error = ShoalError.from(thrown);
  const exitCode = usageCodes.includes(error.code) ? ExitCode.USAGE : ExitCode.FAILURE;
  return { exitCode, text: debug ? `${failureLine(error)}\n${stackOf(error)}` : failureLine(error) };
}

/** `shoal: <sentence> <advice>`, one line whatever the sentence holds. */
export function failureLine(error: ShoalError): string {
  const { advice } = error.kind;
  // What a server says of a failure already ends with the advice.
  const message = error.message.endsWith(advice) ? error.message : `${error.message} ${advice}`;
  return `shoal: ${withoutNoise(message).replace(/\s*[\r\n]+\s*/g, ' ')}`;
}

/** What grpc-js wraps around the one thing worth knowing, the system's own error. */
const withoutNoise = (message: string): string =>
  message.replace(/No connection established\. Last error: (?:Error: )?/, '').replace(/ Resolution note: \.*/, '');

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
