import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ShoalError } from '../../core/errors.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import { callerError } from './incident.js';

/** `{"error": sentence and advice, "code": …}` with the registry's status, and Retry-After where it is known. */
export function sendError(reply: FastifyReply, thrown: unknown, logger: Logger): void {
  const error = callerError(thrown, logger);
  const { http, advice } = error.kind;
  if (error.retryAfterMs !== undefined) {
    reply.header('retry-after', Math.max(1, Math.ceil(error.retryAfterMs / 1000)));
  }
  reply.code(http).send({ error: `${error.message} ${advice}`, code: error.code });
}

/** What the HTTP framework refuses by itself, in our words; anything else as it was thrown. */
export function refusalOf(failure: FastifyError, request: FastifyRequest, maxBodyBytes: number): unknown {
  switch (failure.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE': {
      const announced = request.headers['content-length'];
      const size = announced === undefined ? 'grows past the limit' : `has ${announced} bytes`;
      return new ShoalError('REQUEST_TOO_LARGE', `The body ${size}; at most ${maxBodyBytes} are accepted.`);
    }
    case 'FST_ERR_BAD_URL':
      return new ShoalError('INVALID_REQUEST', `The address ${request.url} has a broken percent encoding.`);
    default:
      if (failure.statusCode === undefined || failure.statusCode >= 500) return failure;
      return new ShoalError('INVALID_REQUEST', `The HTTP request was refused: ${failure.message}.`);
  }
}

const statusOfFault: Readonly<Record<string, number>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };

/** Answers bytes that are not HTTP. There is no request object yet, only the socket. */
export function refuseConnection(failure: Error & { readonly code?: string }, socket: Socket): void {
  if (failure.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = statusOfFault[failure.code ?? ''] ?? 400;
  const body = JSON.stringify({
    error: `This is not an HTTP/1.1 request: ${failure.message}.`,
    code: 'INVALID_REQUEST',
  });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(
      body,
    )}\r\nconnection: close\r\n\r\n${body}`,
  );
}
