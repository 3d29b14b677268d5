import { ServerInterceptingCall, type ServerInterceptingCallInterface, type ServerInterceptor } from '@grpc/grpc-js';
import { ShoalError } from '../../core/errors.js';
import { grpcStatus } from './grpc-status.js';

/**
 * Streaming calls (health watches, reflection) may stay open for ever and would hold up a drain, so they are
 * kept track of and ended when one begins. Unary calls pass through untouched.
 */
export class OpenStreams {
  readonly #open = new Set<ServerInterceptingCallInterface>();

  readonly interceptor: ServerInterceptor = (method, call) => {
    // See transport-refusals.ts on this cast.
    if (!method.responseStream && !method.requestStream) return call as unknown as ServerInterceptingCall;
    this.#open.add(call);
    return new ServerInterceptingCall(call, {
      start: (next) => next({ onCancel: () => this.#open.delete(call) }),
    });
  };

  endAll(): void {
    const status = grpcStatus(new ShoalError('DRAINING', 'This coordinator is shutting down.'));
    for (const call of this.#open) call.sendStatus(status);
    this.#open.clear();
  }
}
