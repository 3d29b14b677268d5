import type { Clock } from '../../core/clock.js';
import { GrpcStatus, ShoalError } from '../../core/errors.js';
import type { InferRequest, InferResponse } from '../../core/inference.js';
import type { UnaryFailure, UnaryMethod } from '../../platform/http2/unary-method.js';
import { decodeInferRequest } from '../../platform/oip/request.js';
import { encodeInferResponse } from '../../platform/oip/response.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { CancelCall, InferenceService, ServingObserver } from '../serving.js';
import { callerHeader, callerName, traceparentHeader, validTraceparent } from './call-context.js';
import { unaryFailure } from './grpc-status.js';
import { callerError } from './incident.js';
import { receiptParameters, receiptText, timingHeader, timingParameter } from './timing-receipt.js';

export interface InferMethodParts {
  readonly service: InferenceService;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of requests that never reached the service. */
  readonly observer: Pick<ServingObserver, 'failed'> | undefined;
}

/**
 * ModelInfer: serialised request in, serialised response out. This is the door every gRPC request passes, so
 * it allocates the context, the closure and the answer, and nothing else.
 */
export function inferMethod(parts: InferMethodParts): UnaryMethod {
  const { service, clock, logger, observer } = parts;
  return (call, reply) => {
    const arrivedMs = clock.nowMs();
    let request: InferRequest;
    let cancel: CancelCall;
    try {
      request = decodeInferRequest(call.message);
    } catch (thrown) {
      const error = callerError(thrown, logger);
      observer?.failed('', '', error.code, (clock.nowMs() - arrivedMs) * 1000);
      reply.fail(unaryFailure(error));
      return undefined;
    }
    const context = {
      arrivedMs,
      deadlineMs: arrivedMs + call.timeoutMs,
      traceparent: validTraceparent(call.header(traceparentHeader) ?? ''),
      caller: callerName(call.header(callerHeader) ?? '', call.peer),
    };
    try {
      cancel = service.infer(request, context, (outcome) => {
        if (!outcome.ok) {
          reply.fail(unaryFailure(callerError(outcome.error, logger)));
          return;
        }
        const { response } = outcome;
        try {
          reply.answer({
            body: [encoded(request, response)],
            trailers: [[timingHeader, receiptText(response.receipt)]],
          });
        } catch (thrown) {
          reply.fail(unaryFailure(callerError(thrown, logger)));
        }
      });
    } catch (thrown) {
      reply.fail(unaryFailure(callerError(thrown, logger)));
      return undefined;
    }
    return cancel;
  };
}

const encoded = (request: InferRequest, response: InferResponse): Buffer =>
  request.parameters[timingParameter] === true
    ? encodeInferResponse(response, receiptParameters(response.receipt))
    : encodeInferResponse(response);

/** The transport's own refusals of a ModelInfer as errors of the registry. Its sentences are kept. */
export function transportError({ status, message }: UnaryFailure): ShoalError {
  return new ShoalError(status === GrpcStatus.RESOURCE_EXHAUSTED ? 'REQUEST_TOO_LARGE' : 'INVALID_REQUEST', message);
}
