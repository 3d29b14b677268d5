import { type handleUnaryCall, Metadata, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { type Clock, wallClockMs } from '../../core/clock.js';
import type { CallContext, InferRequest, InferResponse } from '../../core/inference.js';
import { decodeInferRequest } from '../../platform/oip/request.js';
import { encodeInferResponse } from '../../platform/oip/response.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { InferenceService, ServingObserver } from '../serving.js';
import { callerHeader, callerName, traceparentHeader, validTraceparent } from './call-context.js';
import { grpcStatus } from './grpc-status.js';
import { callerError } from './incident.js';
import { receiptParameters, receiptText, timingHeader, timingParameter } from './timing-receipt.js';

export interface InferHandlerParts {
  readonly service: InferenceService;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of requests that never reached the service. */
  readonly observer: Pick<ServingObserver, 'failed'> | undefined;
  /** The calls the service has not answered yet, so that a drain can end them. */
  readonly underWay: Set<sendUnaryData<Buffer>>;
}

/**
 * ModelInfer: serialised request in, serialised response out. This is the door every gRPC request passes, so
 * it allocates the context, the two closures and the answer, and nothing else.
 */
export function inferHandler(parts: InferHandlerParts): handleUnaryCall<Buffer, Buffer> {
  const { service, clock, logger, observer, underWay } = parts;
  return (call, callback) => {
    const arrivedMs = clock.nowMs();
    let request: InferRequest;
    try {
      request = decodeInferRequest(call.request);
    } catch (thrown) {
      const error = callerError(thrown, logger);
      observer?.failed('', '', error.code, (clock.nowMs() - arrivedMs) * 1000);
      callback(grpcStatus(error));
      return;
    }
    let answered = false;
    try {
      const cancel = service.infer(request, contextOf(call, arrivedMs), (outcome) => {
        answered = true;
        // A call that is gone takes no answer; making one would be work for nobody.
        if (call.cancelled) return;
        if (!outcome.ok) {
          callback(grpcStatus(callerError(outcome.error, logger)));
          return;
        }
        let answer: Buffer;
        try {
          answer = encoded(request, outcome.response);
        } catch (thrown) {
          callback(grpcStatus(callerError(thrown, logger)));
          return;
        }
        callback(null, answer, trailersOf(outcome.response));
      });
      underWay.add(callback);
      // grpc-js emits `cancelled` at the end of every call, answered ones included.
      call.on('cancelled', () => {
        underWay.delete(callback);
        if (!answered) cancel();
      });
    } catch (thrown) {
      callback(grpcStatus(callerError(thrown, logger)));
    }
  };
}

function contextOf(call: ServerUnaryCall<Buffer, Buffer>, arrivedMs: number): CallContext {
  return {
    arrivedMs,
    deadlineMs: monotonicDeadline(call.getDeadline(), arrivedMs),
    traceparent: validTraceparent(textOf(call.metadata, traceparentHeader)),
    caller: callerName(textOf(call.metadata, callerHeader), call.getPeer()),
  };
}

const encoded = (request: InferRequest, response: InferResponse): Buffer =>
  request.parameters[timingParameter] === true
    ? encodeInferResponse(response, receiptParameters(response.receipt))
    : encodeInferResponse(response);

function trailersOf(response: InferResponse): Metadata {
  const trailers = new Metadata();
  trailers.set(timingHeader, receiptText(response.receipt));
  return trailers;
}

/** grpc-js gives wall-clock instants, as a number or a date; ours are monotonic. */
function monotonicDeadline(deadline: Date | number, nowMs: number): number {
  if (deadline === Number.POSITIVE_INFINITY) return deadline;
  return nowMs + (Number(deadline) - wallClockMs());
}

function textOf(metadata: Metadata, key: string): string {
  const [value] = metadata.get(key);
  return typeof value === 'string' ? value : '';
}
