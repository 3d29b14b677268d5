import type { CallerOptions, InferCaller } from './infer-caller.js';

/** Makes the caller that the options ask for; it has no connection yet. */
export async function openCaller(options: CallerOptions): Promise<InferCaller> {
  // Loaded only where it is used: it would be most of a load process's memory.
  if (options.client === 'grpc-js') return new (await import('./grpc-js-caller.js')).GrpcJsCaller(options);
  return new (await import('./http2-caller.js')).Http2Caller(options);
}
