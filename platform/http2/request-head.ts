import { FieldKind, type HeaderField } from './header-field.js';

/** A request's headers, read once: the same object for every request that repeats them byte for byte. */
export interface RequestHead {
  readonly fields: readonly HeaderField[];
  readonly method: string;
  readonly path: string;
  readonly contentType: string;
  /** -1 when it was not given. */
  readonly contentLength: number;
  readonly grpcTimeout: string | undefined;
  readonly grpcEncoding: string | undefined;
  /** Breaks the rules of RFC 9113, section 8: not a request. */
  readonly isMalformed: boolean;
  /** Larger than allowed; `fields` holds what came before the limit. */
  readonly isTooLarge: boolean;
  readonly isTrailers: boolean;
}

/** The last value of a header, by its lower-case name. */
export function headerValue(fields: readonly HeaderField[], name: string): string | undefined {
  for (let i = fields.length - 1; i >= 0; i--) {
    const field = fields[i];
    if (field !== undefined && field.name === name) return field.value;
  }
  return undefined;
}

/** @param isTooLarge the list was cut off at the limit */
export function requestHead(fields: readonly HeaderField[], isTooLarge: boolean): RequestHead {
  let method: string | undefined;
  let scheme: string | undefined;
  let path: string | undefined;
  let authority: string | undefined;
  let contentType = '';
  let contentLength = -1;
  let grpcTimeout: string | undefined;
  let grpcEncoding: string | undefined;
  let isMalformed = false;
  let regularFields = 0;
  for (const { kind, value } of fields) {
    // Pseudo-headers come first and once each (section 8.3).
    switch (kind) {
      case FieldKind.method:
        isMalformed ||= method !== undefined || regularFields > 0;
        method = value;
        continue;
      case FieldKind.scheme:
        isMalformed ||= scheme !== undefined || regularFields > 0;
        scheme = value;
        continue;
      case FieldKind.path:
        isMalformed ||= path !== undefined || regularFields > 0 || value === '';
        path = value;
        continue;
      case FieldKind.authority:
        isMalformed ||= authority !== undefined || regularFields > 0;
        authority = value;
        continue;
      case FieldKind.contentType:
        contentType = value;
        break;
      case FieldKind.contentLength:
        isMalformed ||= !/^\d{1,15}$/.test(value) || (contentLength !== -1 && contentLength !== Number(value));
        contentLength = Number(value);
        break;
      case FieldKind.grpcTimeout:
        grpcTimeout = value;
        break;
      case FieldKind.grpcEncoding:
        grpcEncoding = value;
        break;
      case FieldKind.status:
      case FieldKind.forbidden:
        isMalformed = true;
        break;
      default:
        break;
    }
    regularFields++;
  }
  const isTrailers = method === undefined && scheme === undefined && path === undefined && authority === undefined;
  // A list cut off at the limit may lack what came later.
  if (!isTrailers && !isTooLarge) isMalformed ||= method === undefined || scheme === undefined || path === undefined;
  return {
    fields,
    method: method ?? '',
    path: path ?? '',
    contentType,
    contentLength,
    grpcTimeout,
    grpcEncoding,
    isMalformed,
    isTooLarge,
    isTrailers,
  };
}
