import { GrpcStatus } from '../../core/errors.js';
import type { HeaderField } from './header-field.js';
import { ErrorCode } from './protocol.js';

/**
 * Why a call has no answer where it was not the server's own word:
 * - `deadline`, `cancelled`: ended here
 * - `busy`: more calls are waiting here than allowed
 * - `headers`, `http-status`, `content-type`, `no-status`: what came is not the head or the end of a gRPC answer
 * - `no-message`, `cut-off`, `second-message`, `too-large`, `compressed`: what came is not one message
 * - `reset`: the server gave the stream up; `refused`: before it looked at it
 * - `goaway`: the connection ends and the server never looked at the call
 * - `protocol`: the server broke HTTP/2 or a limit, and the connection ended for it
 * - `lost`: the connection is gone; `silent`: the server no longer answered on it
 */
export type CallFault =
  | 'deadline'
  | 'cancelled'
  | 'busy'
  | 'headers'
  | 'http-status'
  | 'content-type'
  | 'no-status'
  | 'no-message'
  | 'cut-off'
  | 'second-message'
  | 'too-large'
  | 'compressed'
  | 'reset'
  | 'refused'
  | 'goaway'
  | 'protocol'
  | 'lost'
  | 'silent';

/** How a call ended. */
export interface UnaryOutcome {
  /** A gRPC status code; 0: answered. */
  readonly status: number;
  /** The server's own words, or a sentence about the fault. */
  readonly message: string;
  /** The serialised answer, a part of a larger buffer; there when `status` is 0. */
  readonly body: Buffer | undefined;
  /** The fields that came last; see `headerValue`. */
  readonly trailers: readonly HeaderField[];
  readonly fault: CallFault | undefined;
}

export const noFields: readonly HeaderField[] = [];

/** A call that failed for another reason than the server's word. */
export const faulty = (fault: CallFault, status: number, message: string): UnaryOutcome => ({
  status,
  message,
  body: undefined,
  trailers: noFields,
  fault,
});

/** https://github.com/grpc/grpc/blob/master/doc/statuscodes.md */
export const unknownStatus = 2;

/** The status of an answer that is plain HTTP (grpc/doc/http-grpc-status-mapping.md). */
export function statusOfHttp(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return GrpcStatus.INTERNAL;
    case 401:
      return GrpcStatus.UNAUTHENTICATED;
    case 403:
      return GrpcStatus.PERMISSION_DENIED;
    case 404:
      return GrpcStatus.UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
      return GrpcStatus.UNAVAILABLE;
    default:
      return unknownStatus;
  }
}

/** The status of a stream that was reset (grpc/doc/PROTOCOL-HTTP2.md, "Errors"). */
export function statusOfReset(code: number): number {
  switch (code) {
    case ErrorCode.REFUSED_STREAM:
      return GrpcStatus.UNAVAILABLE;
    case ErrorCode.CANCEL:
      return GrpcStatus.CANCELLED;
    case ErrorCode.ENHANCE_YOUR_CALM:
      return GrpcStatus.RESOURCE_EXHAUSTED;
    default:
      return GrpcStatus.INTERNAL;
  }
}
