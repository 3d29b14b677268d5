import { percentDecoded } from './grpc-headers.js';
import { FieldKind, type HeaderField } from './header-field.js';

/** The headers of an answer, or its trailers, read once. */
export interface ResponseHead {
  readonly fields: readonly HeaderField[];
  /** 0: these are trailers. */
  readonly httpStatus: number;
  readonly contentType: string;
  /** -1 when it was not given or is no number. */
  readonly grpcStatus: number;
  readonly grpcMessage: string;
  /** Breaks the rules of RFC 9113, section 8: no answer. */
  readonly isMalformed: boolean;
  /** Larger than allowed; `fields` holds what came before the limit. */
  readonly isTooLarge: boolean;
}

/** @param isTooLarge the list was cut off at the limit */
export function responseHead(fields: readonly HeaderField[], isTooLarge: boolean): ResponseHead {
  let httpStatus = 0;
  let contentType = '';
  let grpcStatus = -1;
  let grpcMessage = '';
  let isMalformed = false;
  let regularFields = 0;
  for (const { kind, value } of fields) {
    switch (kind) {
      case FieldKind.status:
        // First, once, and three digits (section 8.3.2).
        isMalformed ||= httpStatus !== 0 || regularFields > 0 || !/^[1-5]\d\d$/.test(value);
        httpStatus = Number(value);
        continue;
      case FieldKind.method:
      case FieldKind.scheme:
      case FieldKind.path:
      case FieldKind.authority:
      case FieldKind.forbidden:
        isMalformed = true;
        break;
      case FieldKind.contentType:
        contentType = value;
        break;
      case FieldKind.grpcStatus:
        grpcStatus = /^\d{1,3}$/.test(value) ? Number(value) : -1;
        break;
      case FieldKind.grpcMessage:
        grpcMessage = percentDecoded(value);
        break;
      default:
        break;
    }
    regularFields++;
  }
  return { fields, httpStatus, contentType, grpcStatus, grpcMessage, isMalformed, isTooLarge };
}
