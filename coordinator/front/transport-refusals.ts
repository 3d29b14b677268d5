import type { ServerInterceptingCall, ServerInterceptingCallInterface, ServerInterceptor } from '@grpc/grpc-js';
import { GrpcStatus, ShoalError } from '../../core/errors.js';
import { grpcStatus } from './grpc-status.js';

type PartialStatusObject = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

/**
 * grpc-js ends some calls before a handler sees them (too large, not protobuf, out of time) with statuses and
 * words of its own. This turns them into errors of the registry; undefined: leave the status as it is.
 */
export function refusalOf(status: PartialStatusObject): ShoalError | undefined {
  const text = status.details ?? '';
  switch (status.code) {
    case GrpcStatus.RESOURCE_EXHAUSTED: {
      const sizes = /^Received message larger than max \((\d+) vs\.? (\d+)\)/.exec(text);
      if (sizes !== null) {
        return new ShoalError(
          'REQUEST_TOO_LARGE',
          `The request message has ${sizes[1]} bytes; at most ${sizes[2]} are accepted.`,
        );
      }
      const limit = /^Received message that decompresses to a size larger than (\d+)/.exec(text);
      if (limit !== null) {
        return new ShoalError(
          'REQUEST_TOO_LARGE',
          `The compressed request message grows past the limit of ${limit[1]} bytes.`,
        );
      }
      return undefined;
    }
    case GrpcStatus.DEADLINE_EXCEEDED:
      return new ShoalError('DEADLINE_EXPIRED', "The call's deadline passed before its answer was ready.");
    case GrpcStatus.INTERNAL:
      if (text.startsWith('Error deserializing request')) {
        return new ShoalError('INVALID_REQUEST', 'The request message is not valid protobuf of the type expected.');
      }
      if (text.startsWith('Failed to decompress')) {
        return new ShoalError('INVALID_REQUEST', 'The request message is marked as compressed but does not unpack.');
      }
      if (text.startsWith('Invalid grpc-timeout')) return new ShoalError('INVALID_REQUEST', `${text}.`);
      return undefined;
    case GrpcStatus.UNIMPLEMENTED:
      if (text.startsWith('Received no request message')) {
        return new ShoalError('INVALID_REQUEST', 'The call carried no request message; expected exactly one.');
      }
      if (text.startsWith('Received a second request message')) {
        return new ShoalError('INVALID_REQUEST', 'The call carried more than one request message; expected one.');
      }
      return new ShoalError('UNSUPPORTED', `${text}.`);
    default:
      return undefined;
  }
}

/**
 * Speaks for the transport. It sees every status on its way out: those of our handlers carry metadata and
 * pass at the cost of one comparison. An interceptor in the usual sense would not do, because grpc-js sends
 * its own refusals from beneath all of them.
 */
export function transportRefusals(onRefused: (error: ShoalError) => void): ServerInterceptor {
  let original: ServerInterceptingCallInterface['sendStatus'] | undefined;
  function sendStatus(this: ServerInterceptingCallInterface, status: PartialStatusObject): void {
    if (status.code !== GrpcStatus.OK && (status.metadata === undefined || status.metadata === null)) {
      const error = refusalOf(status);
      if (error !== undefined) {
        onRefused(error);
        original?.call(this, grpcStatus(error));
        return;
      }
    }
    original?.call(this, status);
  }
  return (_method, call) => {
    original ??= call.sendStatus;
    call.sendStatus = sendStatus;
    // The declared return type is one class; what grpc-js needs, and passes in, is its interface.
    return call as unknown as ServerInterceptingCall;
  };
}
