import { parseTraceparent } from '../../platform/telemetry/traceparent.js';

/** Metadata key and header by which a caller names itself; its address otherwise. */
export const callerHeader = 'x-shoal-caller';
export const traceparentHeader = 'traceparent';

const maxCallerLength = 128;

/**
 * Callers become keys of maps and fields of log lines, so their length has a limit. One that does not name itself is
 * its address without the port: many connections must not make it many.
 */
export const callerName = (announced: string, peer: string): string =>
  announced === '' ? peer.slice(0, Math.max(0, peer.lastIndexOf(':'))) : announced.slice(0, maxCallerLength);

/** As received, or empty when it is not valid: the specification says to go on as if there were none. */
export const validTraceparent = (received: string): string =>
  received === '' || parseTraceparent(received) === undefined ? '' : received;
