import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Server, ServerCredentials } from '@grpc/grpc-js';
import { freshSeed } from '../../core/random.js';

/** A way into a grpc-js server of this process that has no port of its own. */
export interface GrpcFallback {
  /** A new connection to the server, for `GrpcUnaryServerOptions.fallback`. */
  connect(): Socket;
  /** Takes no new connections; those that are open last until either side ends them. */
  close(): Promise<void>;
}

/**
 * Opens a private door to a grpc-js server: a local socket whose connections are handed to the server. On Linux its
 * name is an abstract one, which no cleaner of temporary files can take away. Real sockets on both ends, because
 * node's http2 speaks to those natively and to streams made in JavaScript through an adapter.
 */
export async function openGrpcFallback(server: Server): Promise<GrpcFallback> {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const name = `shoal-${process.pid}-${freshSeed().toString(36)}${freshSeed().toString(36)}`;
  const folder = process.platform === 'linux' ? undefined : await mkdtemp(join(tmpdir(), 'shoal-'));
  const path = folder === undefined ? `\0${name}` : join(folder, name);
  const door = createServer((socket) => injector.injectConnection(socket));
  door.listen(path);
  await once(door, 'listening');
  // A connection that could not be accepted ends at its other side too, which says so to its caller.
  door.on('error', () => undefined);
  return {
    connect: () => connect(path),
    async close() {
      door.close();
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}
