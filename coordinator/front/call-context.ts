import { parseTraceparent } from '../../platform/telemetry/traceparent.js';

/** Metadata key and header by which a caller names itself; its address otherwise. */
export const callerHeader = 'x-shoal-caller';
export const traceparentHeader = 'traceparent';

const maxCallerLength = 128;

/** Callers become keys of maps and fields of log lines, so their length has a limit. */
export const callerName = (announced: string, peer: string): string =>
  announced === '' ? peer : announced.slice(0, maxCallerLength);

/** As received, or empty when it is not valid: the specification says to go on as if there were none. */
export const validTraceparent = (received: string): string =>
  received === '' || parseTraceparent(received) === undefined ? '' : received;
