import { type handleUnaryCall, Metadata, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { type Clock, wallClockMs } from '../../core/clock.js';
import type { CallContext, InferRequest, InferResponse } from '../../core/inference.js';
import { decodeInferRequest } from '../../platform/oip/request.js';
import { encodeInferResponse } from '../../platform/oip/response.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { CancelCall, InferenceService, ServingObserver } from '../serving.js';
import { callerHeader, callerName, traceparentHeader, validTraceparent } from './call-context.js';
import { grpcStatus } from './grpc-status.js';
import type { HeldBytes } from './held-bytes.js';
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
  readonly held: HeldBytes;
}

/**
 * ModelInfer: serialised request in, serialised response out. This is the door every gRPC request passes, so
 * it allocates the context, the closures and the answer, and nothing else.
 */
export function inferHandler(parts: InferHandlerParts): handleUnaryCall<Buffer, Buffer> {
  const { service, clock, logger, observer, underWay, held } = parts;
  const refuse = (thrown: unknown, arrivedMs: number, callback: sendUnaryData<Buffer>): void => {
    const error = callerError(thrown, logger);
    observer?.failed('', '', error.code, (clock.nowMs() - arrivedMs) * 1000);
    callback(grpcStatus(error));
  };
  return (call, callback) => {
    const arrivedMs = clock.nowMs();
    const connection = call.getPeer();
    let heldBytes = call.request.length;
    let request: InferRequest;
    try {
      held.admit(connection, heldBytes);
    } catch (thrown) {
      refuse(thrown, arrivedMs, callback);
      return;
    }
    let cancel: CancelCall | undefined;
    let answered = false;
    // grpc-js emits `cancelled` at the end of every call: when its answer has gone out, too.
    call.on('cancelled', () => {
      held.release(connection, heldBytes);
      underWay.delete(callback);
      if (!answered) cancel?.();
    });
    try {
      request = decodeInferRequest(call.request);
    } catch (thrown) {
      refuse(thrown, arrivedMs, callback);
      return;
    }
    try {
      cancel = service.infer(request, contextOf(call, connection, arrivedMs), (outcome) => {
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
        heldBytes += answer.length;
        held.add(connection, answer.length);
        callback(null, answer, trailersOf(outcome.response));
      });
      underWay.add(callback);
    } catch (thrown) {
      callback(grpcStatus(callerError(thrown, logger)));
    }
  };
}

function contextOf(call: ServerUnaryCall<Buffer, Buffer>, connection: string, arrivedMs: number): CallContext {
  return {
    arrivedMs,
    deadlineMs: monotonicDeadline(call.getDeadline(), arrivedMs),
    traceparent: validTraceparent(textOf(call.metadata, traceparentHeader)),
    caller: callerName(textOf(call.metadata, callerHeader), connection),
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
