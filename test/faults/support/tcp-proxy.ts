import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * - `open`: forwards
 * - `refusing`: takes no connections, and has broken those there were
 * - `resetting`: the same, but breaks new ones only once they are made, so that they can be counted
 * - `silent`: takes connections and keeps those there are, but no byte passes in either direction
 */
export type ProxyMode = 'open' | 'refusing' | 'resetting' | 'silent';

/** A stretch of network between two processes that can be cut, blocked and mended. */
export class TcpProxy {
  /** Connections that were tried so far. */
  connections = 0;
  readonly #host: string;
  readonly #port: number;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #server: Server | undefined;
  #mode: ProxyMode = 'open';

  private constructor(listen: { host: string; port: number }, target: { host: string; port: number }) {
    this.#host = listen.host;
    this.#port = listen.port;
    this.#target = target;
  }

  static async between(
    listen: { readonly host: string; readonly port: number },
    target: { readonly host: string; readonly port: number },
  ): Promise<TcpProxy> {
    const proxy = new TcpProxy(listen, target);
    await proxy.#listen();
    return proxy;
  }

  async become(mode: ProxyMode): Promise<void> {
    this.#mode = mode;
    if (mode === 'refusing' || mode === 'resetting') this.cut();
    if (mode === 'refusing') {
      await this.#close();
    } else if (this.#server === undefined) {
      await this.#listen();
    }
    for (const pair of this.#pairs) this.#flow(pair);
  }

  /** Connections that there are now. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Breaks every connection there is, as a reset does. */
  cut(): void {
    for (const [near, far] of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  async end(): Promise<void> {
    this.cut();
    await this.#close();
  }

  async #listen(): Promise<void> {
    const server = createServer((near) => this.#accept(near));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, this.#host, resolve);
    });
    this.#server = server;
  }

  async #close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  #accept(near: Socket): void {
    this.connections++;
    if (this.#mode === 'resetting') {
      near.on('error', () => undefined);
      near.resetAndDestroy();
      return;
    }
    const far = connect(this.#target);
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    const over = (): void => {
      this.#pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of pair) {
      socket.setNoDelay(true);
      socket.on('close', over);
      // A broken connection is what this is for; its close follows.
      socket.on('error', () => undefined);
    }
    this.#flow(pair);
  }

  #flow([near, far]: readonly [Socket, Socket]): void {
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      if (this.#mode === 'open') from.pipe(to);
      else {
        from.unpipe(to);
        from.pause();
      }
    }
  }
}
