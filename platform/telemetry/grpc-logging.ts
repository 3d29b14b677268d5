import { setLogger } from '@grpc/grpc-js';
import type { Logger } from './logger.js';

/**
 * Sends what grpc-js prints on standard error to the log instead, as debug: whatever matters in it reaches us
 * as an error of a call or of a port as well. Holds for the whole process.
 */
export function routeGrpcLogs(logger: Logger): void {
  const log = (...parts: unknown[]): void => logger.debug({ parts: parts.map(String) }, 'grpc-js says');
  setLogger({ error: log, info: log, debug: log });
}
