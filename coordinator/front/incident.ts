import { ShoalError } from '../../core/errors.js';
import { freshSeed } from '../../core/random.js';
import type { Logger } from '../../platform/telemetry/logger.js';

/**
 * Any thrown value as the error a caller may see. What nobody foresaw gets an incident id that is both in
 * the answer and, with its stack, in the log.
 */
export function callerError(thrown: unknown, logger: Logger): ShoalError {
  const error = ShoalError.from(thrown);
  if (error.code !== 'INTERNAL') return error;
  const incident = freshSeed().toString(16).padStart(8, '0');
  logger.error({ err: error.cause ?? error, incident }, 'request failed unexpectedly');
  return new ShoalError('INTERNAL', `${error.message} Incident ${incident}.`, { cause: error });
}
