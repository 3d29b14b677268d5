import { ShoalError } from '../core/errors.js';

/** A front end's listening address, with the flag that sets its port, for the sentence when it cannot be had. */
export interface ListenAddress {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** Why a port could not be had, as BAD_SETTING that names the port and its flag. */
export function listenFailure(thrown: unknown, address: ListenAddress, flag: string): ShoalError {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const where = `port ${address.port} on ${address.host} (${flag})`;
  if (text.includes('EADDRINUSE')) {
    return new ShoalError('BAD_SETTING', `Cannot listen on ${where}: another process has it.`, { cause: thrown });
  }
  if (text.includes('EACCES')) {
    return new ShoalError('BAD_SETTING', `Cannot listen on ${where}: this user may not open it.`, { cause: thrown });
  }
  if (text.includes('EADDRNOTAVAIL') || text.includes('ENOTFOUND') || text.includes('Name resolution failed')) {
    return new ShoalError('BAD_SETTING', `Cannot listen on ${where}: this machine has no such address.`, {
      cause: thrown,
    });
  }
  return new ShoalError('BAD_SETTING', `Cannot listen on ${where}: ${text}.`, { cause: thrown });
}
