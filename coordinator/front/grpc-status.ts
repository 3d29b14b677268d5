import { Metadata, type StatusObject } from '@grpc/grpc-js';
import { ShoalError } from '../../core/errors.js';
import { encodeStatusDetails, statusDetailsTrailer } from '../../platform/oip/error-details.js';

/** Trailer that carries `ErrorCode`, for programs that do not read google.rpc details. */
export const errorTrailer = 'shoal-error';

/** Many HTTP/2 stacks refuse header blocks over 8 KiB, and the sentence travels twice, once percent-encoded. */
const maxMessageBytes = 1024;

/** The sentence and what to do about it, short enough for a header and without half characters. */
export function errorSentence(error: ShoalError): string {
  return `${shortened(error.message)} ${error.kind.advice}`;
}

/** Through UTF-8 and back: what was half a character is a replacement sign then, and no encoder throws on it. */
function shortened(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxMessageBytes) return bytes.toString();
  return `${bytes.subarray(0, maxMessageBytes - 4).toString()} …`;
}

/** What a call that failed ends with: status, sentence, `shoal-error` and google.rpc details. */
export function grpcStatus(error: ShoalError): StatusObject {
  const details = errorSentence(error);
  const metadata = new Metadata();
  metadata.set(errorTrailer, error.code);
  metadata.set(statusDetailsTrailer, encodeStatusDetails(headerSized(error)));
  return { code: error.kind.grpc, details, metadata };
}

function headerSized(error: ShoalError): ShoalError {
  if (error.message.length * 3 <= maxMessageBytes) return error;
  const { retryAfterMs } = error;
  return new ShoalError(error.code, shortened(error.message), retryAfterMs === undefined ? {} : { retryAfterMs });
}
