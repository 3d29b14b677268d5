import { broken, clientPreface } from './protocol.js';

const text = 'This port speaks gRPC over HTTP/2.\n';

/** For a browser or curl: said in words it understands. */
export const http1Refusal = `HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\n\r\n${text}`;

const http1Line = /^[A-Z]{3,8} \/\S{0,400}( HTTP\/1|$)/;

/** Matches the first bytes of a connection with those of HTTP/2 (RFC 9113, section 3.4). */
export class Preface {
  #matched = 0;

  /**
   * Takes the connection's next bytes. Returns how many of them were the preface's; `'http1'` when the client speaks
   * HTTP/1.
   * @throws ConnectionError for anything else
   */
  match(chunk: Buffer): number | 'http1' {
    const take = Math.min(chunk.length, clientPreface.length - this.#matched);
    if (clientPreface.compare(chunk, 0, take, this.#matched, this.#matched + take) !== 0) {
      if (
        this.#matched === 0 &&
        http1Line.test(chunk.toString('latin1', 0, Math.min(500, chunk.length)).split('\r')[0] ?? '')
      ) {
        return 'http1';
      }
      throw broken('The first bytes are not those of HTTP/2.');
    }
    this.#matched += take;
    return take;
  }

  get isWhole(): boolean {
    return this.#matched === clientPreface.length;
  }
}
