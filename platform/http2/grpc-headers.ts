import { GrpcStatus } from '../../core/errors.js';
import { HeaderBlock, headerBlock } from './hpack-encoder.js';

// How gRPC speaks through HTTP/2 headers:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

/** Compressions of request messages that are understood. */
export const acceptedEncodings = 'identity,gzip,deflate';

const grpcType = 'application/grpc';

/** `application/grpc`, with a suffix or parameters. */
export const isGrpcType = (contentType: string): boolean =>
  contentType === grpcType || /^application\/grpc(?:$|[+;])/.test(contentType);

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds of a `grpc-timeout`: at most eight digits and a unit. NaN when it is not one. */
export function parseTimeoutMs(text: string): number {
  const digits = text.length - 1;
  if (digits < 1 || digits > 8) return Number.NaN;
  let value = 0;
  for (let i = 0; i < digits; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value * (unitMs[text.charAt(digits)] ?? Number.NaN);
}

/** A `grpc-timeout` of so many milliseconds, rounded up; the finest unit whose eight digits suffice. */
export function timeoutText(ms: number): string {
  const us = Math.max(1, Math.ceil(ms * 1000));
  if (us < 1e8) return `${us}u`;
  return ms < 1e8 ? `${Math.ceil(ms)}m` : `${Math.min(99_999_999, Math.ceil(ms / 1000))}S`;
}

const needsEncoding = /[^ -$&-~]/;

/** The text of `grpc-message`: UTF-8, with all but printable ASCII, and the percent sign, percent-encoded. */
export function percentEncoded(text: string): string {
  if (!needsEncoding.test(text)) return text;
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** The text in a `grpc-message` as it was received, one character per byte; what is no UTF-8 becomes U+FFFD. */
export function percentDecoded(text: string): string {
  if (!/[%\x80-\xff]/.test(text)) return text;
  const bytes = text.replace(/%([0-9a-fA-F]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** A trailer: text, or bytes where the name ends in `-bin`. */
export type Trailer = readonly [name: string, value: string | Uint8Array];

const ok: readonly [string, string] = [':status', '200'];
const contentType: readonly [string, string] = ['content-type', grpcType];

export const answerHead = headerBlock([ok, contentType]);
export const answerTrailers = headerBlock([['grpc-status', '0']]);

const scratch = new HeaderBlock();

/** Trailers of an answer; the block is good until the next is made. */
export function trailersBlock(trailers: readonly Trailer[]): Buffer {
  scratch.clear().append(answerTrailers);
  addTrailers(trailers);
  return scratch.view();
}

/** Headers that are the whole answer of a call that failed; good until the next block is made. */
export function failureBlock(status: number, message: string, trailers: readonly Trailer[] = []): Buffer {
  scratch.clear().append(answerHead).field('grpc-status', String(status));
  if (message !== '') scratch.field('grpc-message', percentEncoded(message));
  addTrailers(trailers);
  return scratch.view();
}

/** For requests that are not gRPC: HTTP says so, and gRPC too for clients that look there. */
export function httpRefusalBlock(httpStatus: number, message: string, headers: readonly Trailer[] = []): Buffer {
  scratch.clear().field(':status', String(httpStatus));
  scratch.field('grpc-status', String(GrpcStatus.INTERNAL)).field('grpc-message', percentEncoded(message));
  addTrailers(headers);
  return scratch.view();
}

function addTrailers(trailers: readonly Trailer[]): void {
  for (const [name, value] of trailers) scratch.field(name, typeof value === 'string' ? value : base64(value));
}

/** Without padding, as the specification asks senders. */
function base64(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  return text.replace(/=+$/, '');
}
