/** Entry of `shoal bench --null`: the null server in a process of its own, on a port of its choice. */
import { ShoalError } from '../core/errors.js';
import { startNullServer } from './null-server.js';

/** Null process → parent, once. */
export type FromNullProcess =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'failed'; readonly message: string };

startNullServer({ address: '127.0.0.1:0' }).then(
  ({ port }) => process.send?.({ kind: 'listening', port } satisfies FromNullProcess),
  (thrown: unknown) => {
    const { message } = ShoalError.from(thrown);
    process.send?.({ kind: 'failed', message } satisfies FromNullProcess);
  },
);
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(0));
