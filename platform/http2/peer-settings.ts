import {
  broken,
  ConnectionError,
  defaultMaxFrameBytes,
  ErrorCode,
  maxWindowBytes,
  Setting,
  wrongSize,
} from './protocol.js';

/** The settings of a peer that one can have a use for (RFC 9113, section 6.5.2). */
export interface SettingsVisitor {
  initialWindow(bytes: number): void;
  maxFrame(bytes: number): void;
  /** For who opens streams. */
  maxStreams?(count: number): void;
  /** For encoders that use the peer's dynamic table. */
  headerTable?(bytes: number): void;
}

const maxMaxFrameBytes = 2 ** 24 - 1;

/** @throws ConnectionError for values and sizes that cannot be */
export function readSettings(bytes: Buffer, start: number, end: number, visitor: SettingsVisitor): void {
  if ((end - start) % 6 !== 0) throw wrongSize('SETTINGS', end - start);
  for (let at = start; at < end; at += 6) {
    const value = bytes.readUInt32BE(at + 2);
    switch (bytes.readUInt16BE(at)) {
      case Setting.ENABLE_PUSH:
        if (value > 1) throw broken(`ENABLE_PUSH is ${value}, and can be 0 or 1.`);
        break;
      case Setting.INITIAL_WINDOW_SIZE:
        if (value > maxWindowBytes) {
          throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, `INITIAL_WINDOW_SIZE is ${value}, over 2^31-1.`);
        }
        visitor.initialWindow(value);
        break;
      case Setting.MAX_FRAME_SIZE:
        if (value < defaultMaxFrameBytes || value > maxMaxFrameBytes) {
          throw broken(`MAX_FRAME_SIZE is ${value}, and can be ${defaultMaxFrameBytes} to ${maxMaxFrameBytes}.`);
        }
        visitor.maxFrame(value);
        break;
      case Setting.MAX_CONCURRENT_STREAMS:
        visitor.maxStreams?.(value);
        break;
      case Setting.HEADER_TABLE_SIZE:
        visitor.headerTable?.(value);
        break;
      default:
        // The rest are the peer's own affair.
        break;
    }
  }
}
