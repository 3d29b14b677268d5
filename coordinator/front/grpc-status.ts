import { Metadata, type StatusObject } from '@grpc/grpc-js';
import { ShoalError } from '../../core/errors.js';
import type { UnaryFailure } from '../../platform/http2/unary-method.js';
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

/** Failures as they were told of late. Under pressure the same one is told by the thousand. */
const told = new Map<string, UnaryFailure>();
const mostTold = 256;

/** What a call that failed ends with: status, sentence, `shoal-error` and google.rpc details. */
export function unaryFailure(error: ShoalError): UnaryFailure {
  const key = `${error.code} ${error.retryAfterMs} ${error.message}`;
  let failure = told.get(key);
  if (failure === undefined) {
    failure = failureOf(error);
    if (told.size >= mostTold) told.clear();
    told.set(key, failure);
  }
  return failure;
}

function failureOf(error: ShoalError): UnaryFailure {
  return {
    status: error.kind.grpc,
    message: errorSentence(error),
    trailers: [
      [errorTrailer, error.code],
      [statusDetailsTrailer, encodeStatusDetails(headerSized(error))],
    ],
  };
}

/** The same for grpc-js. */
export function grpcStatus(error: ShoalError): StatusObject {
  const { status, message, trailers = [] } = unaryFailure(error);
  const metadata = new Metadata();
  for (const [name, value] of trailers) metadata.set(name, typeof value === 'string' ? value : Buffer.from(value));
  return { code: status, details: message, metadata };
}

function headerSized(error: ShoalError): ShoalError {
  if (error.message.length * 3 <= maxMessageBytes) return error;
  const { retryAfterMs } = error;
  return new ShoalError(error.code, shortened(error.message), retryAfterMs === undefined ? {} : { retryAfterMs });
}
