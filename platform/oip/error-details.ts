import { type ErrorCode, isErrorCode, ShoalError } from '../../core/errors.js';
import { WireReader } from './wire.js';
import { delimitedBytes, textFieldBytes, varintBytes, WireWriter } from './wire-writer.js';

// google.rpc.Status with ErrorInfo and RetryInfo (github.com/googleapis/googleapis, google/rpc/error_details.proto),
// as it rides in the binary trailer below.

/** Trailing metadata key whose value is a serialised `google.rpc.Status`. */
export const statusDetailsTrailer = 'grpc-status-details-bin';

/** `ErrorInfo.domain` of every error of ours; `ErrorInfo.reason` is the `ErrorCode`. */
export const errorDomain = 'shoal';

const errorInfoType = 'type.googleapis.com/google.rpc.ErrorInfo';
const retryInfoType = 'type.googleapis.com/google.rpc.RetryInfo';

/** The trailer's value for an error: its code as ErrorInfo and, where one is known, its pause as RetryInfo. */
export function encodeStatusDetails(error: ShoalError): Buffer {
  const details = [any(errorInfoType, errorInfo(error.code))];
  if (error.retryAfterMs !== undefined) details.push(any(retryInfoType, retryInfo(error.retryAfterMs)));
  const grpc = error.kind.grpc;
  let size = 1 + varintBytes(grpc) + textFieldBytes(error.message);
  for (const detail of details) size += delimitedBytes(detail.length);
  const writer = new WireWriter(size);
  writer.byte(0x08);
  writer.varint(grpc);
  writer.textField(0x12, error.message);
  for (const detail of details) writeMessage(writer, 0x1a, detail);
  return writer.finish();
}

function any(type: string, value: Buffer): Buffer {
  const writer = new WireWriter(textFieldBytes(type) + delimitedBytes(value.length));
  writer.textField(0x0a, type);
  writeMessage(writer, 0x12, value);
  return writer.finish();
}

function errorInfo(code: ErrorCode): Buffer {
  const writer = new WireWriter(textFieldBytes(code) + textFieldBytes(errorDomain));
  writer.textField(0x0a, code);
  writer.textField(0x12, errorDomain);
  return writer.finish();
}

/** RetryInfo { Duration retry_delay = 1 }, Duration { int64 seconds = 1; int32 nanos = 2 }. */
function retryInfo(retryAfterMs: number): Buffer {
  const seconds = Math.floor(retryAfterMs / 1000);
  const nanos = Math.floor((retryAfterMs - seconds * 1000) * 1e6);
  const duration = new WireWriter(2 + varintBytes(seconds) + varintBytes(nanos));
  duration.byte(0x08);
  duration.varint(seconds);
  duration.byte(0x10);
  duration.varint(nanos);
  const bytes = duration.finish();
  const writer = new WireWriter(delimitedBytes(bytes.length));
  writeMessage(writer, 0x0a, bytes);
  return writer.finish();
}

function writeMessage(writer: WireWriter, tag: number, message: Buffer): void {
  writer.byte(tag);
  writer.varint(message.length);
  writer.raw(message);
}

export interface StatusDetails {
  /** The registry's code; `undefined` when the server is not one of ours. */
  readonly code: ErrorCode | undefined;
  readonly retryAfterMs: number | undefined;
}

/** Reads the trailer's value. Details of other kinds or servers, and broken ones, are passed over. */
export function decodeStatusDetails(bytes: Buffer): StatusDetails {
  const found: { code: ErrorCode | undefined; retryAfterMs: number | undefined } = {
    code: undefined,
    retryAfterMs: undefined,
  };
  try {
    eachMessage(bytes, 0x1a, (detail) => readDetail(detail, found));
  } catch (thrown) {
    // The status itself already says that the call failed; details that cannot be read add nothing to it.
    if (!(thrown instanceof ShoalError)) throw thrown;
  }
  return found;
}

function readDetail(detail: Buffer, found: { code: ErrorCode | undefined; retryAfterMs: number | undefined }): void {
  let type = '';
  eachMessage(detail, 0x0a, (text) => {
    type = text.toString();
  });
  eachMessage(detail, 0x12, (value) => {
    if (type === errorInfoType) {
      eachMessage(value, 0x0a, (text) => {
        const reason = text.toString();
        if (isErrorCode(reason)) found.code = reason;
      });
    } else if (type === retryInfoType) {
      eachMessage(value, 0x0a, (duration) => {
        found.retryAfterMs = readDurationMs(duration);
      });
    }
  });
}

function readDurationMs(bytes: Buffer): number {
  const reader = new WireReader(bytes, 'response');
  let ms = 0;
  while (reader.at < reader.end) {
    const tag = reader.tag();
    if (tag === 0x08) ms += Number(reader.int64()) * 1000;
    else if (tag === 0x10) ms += Number(reader.int64()) / 1e6;
    else reader.skip(tag, 2);
  }
  return ms;
}

/** Calls `visit` with the bytes of every length-delimited field of this tag. */
function eachMessage(bytes: Buffer, wanted: number, visit: (message: Buffer) => void): void {
  const reader = new WireReader(bytes, 'response');
  while (reader.at < reader.end) {
    const tag = reader.tag();
    if (tag === wanted) visit(reader.slice());
    else reader.skip(tag, 0);
  }
}
