import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import type { CallContext, InferOutcome, InferRequest } from '../../core/inference.js';
import { parseInferBody, renderInferBody } from '../../platform/oip/json.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { InferenceService, ServingObserver } from '../serving.js';
import { callerHeader, callerName, traceparentHeader, validTraceparent } from './call-context.js';
import { sendError } from './http-errors.js';
import { receiptParameters, receiptText, timingHeader, timingParameter } from './timing-receipt.js';

interface HttpInferParts {
  readonly service: InferenceService;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observer: Pick<ServingObserver, 'failed'> | undefined;
  /** Requests the service has not answered yet, so that a drain can end them. */
  readonly underWay: Set<FastifyReply>;
}

/** An absent version is the newest ready one. */
export interface ModelRoute {
  Params: { model: string; version?: string };
}

type InferCall = FastifyRequest<ModelRoute>;

/** `POST …/infer`: JSON tensors in, JSON tensors out. A caller that hangs up gives its request up. */
export function httpInfer(parts: HttpInferParts): (request: InferCall, reply: FastifyReply) => void {
  const { service, clock, logger, observer, underWay } = parts;
  return (call, reply) => {
    const arrivedMs = clock.nowMs();
    const { model, version = '' } = call.params;
    let request: InferRequest;
    try {
      request = readRequest(call, model, version);
    } catch (thrown) {
      observer?.failed(model, '', ShoalError.from(thrown).code, (clock.nowMs() - arrivedMs) * 1000);
      throw thrown;
    }
    let answered = false;
    const cancel = service.infer(request, contextOf(call, arrivedMs), (outcome) => {
      answered = true;
      underWay.delete(reply);
      if (!reply.sent && !reply.raw.destroyed) sendOutcome(reply, request, outcome, logger);
    });
    underWay.add(reply);
    // Emitted at the end of every response; before the answer it means that the connection is gone.
    reply.raw.once('close', () => {
      underWay.delete(reply);
      if (!answered) cancel();
    });
  };
}

function readRequest(call: InferCall, model: string, version: string): InferRequest {
  if (call.headers['inference-header-content-length'] !== undefined) {
    throw new ShoalError(
      'UNSUPPORTED',
      'The header Inference-Header-Content-Length announces binary tensors; HTTP takes JSON tensors only. Send binary tensors over gRPC.',
    );
  }
  return parseInferBody(call.body, model, version);
}

function contextOf(call: InferCall, arrivedMs: number): CallContext {
  const { socket } = call;
  return {
    arrivedMs,
    // HTTP has no deadline of its own; the `timeout` parameter is admission's.
    deadlineMs: Number.POSITIVE_INFINITY,
    traceparent: validTraceparent(headerText(call, traceparentHeader)),
    caller: callerName(headerText(call, callerHeader), `${socket.remoteAddress}:${socket.remotePort}`),
  };
}

function headerText(call: InferCall, name: string): string {
  const value = call.headers[name];
  return typeof value === 'string' ? value : '';
}

/** Called from the service, which must not be troubled by what goes wrong in here. */
function sendOutcome(reply: FastifyReply, request: InferRequest, outcome: InferOutcome, logger: Logger): void {
  if (!outcome.ok) {
    sendError(reply, outcome.error, logger);
    return;
  }
  const { receipt } = outcome.response;
  let body: string;
  try {
    const wantsTiming = request.parameters[timingParameter] === true;
    body = renderInferBody(outcome.response, wantsTiming ? receiptParameters(receipt) : undefined);
  } catch (thrown) {
    sendError(reply, thrown, logger);
    return;
  }
  reply.header(timingHeader, receiptText(receipt)).type('application/json').send(body);
}
