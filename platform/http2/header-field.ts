import { invariant } from '../../core/errors.js';

/** What a field means to a reader of requests or answers, found once when the field is made and not once per request. */
export const FieldKind = {
  other: 0,
  method: 1,
  scheme: 2,
  path: 3,
  authority: 4,
  contentType: 5,
  contentLength: 6,
  grpcTimeout: 7,
  grpcEncoding: 8,
  te: 9,
  /** Not allowed in HTTP/2 (RFC 9113, sections 8.2 and 8.3): the whole message is malformed. */
  forbidden: 10,
  /** Of answers only. */
  status: 11,
  grpcStatus: 12,
  grpcMessage: 13,
} as const;

const kinds = new Map<string, number>([
  [':method', FieldKind.method],
  [':scheme', FieldKind.scheme],
  [':path', FieldKind.path],
  [':authority', FieldKind.authority],
  [':status', FieldKind.status],
  ['content-type', FieldKind.contentType],
  ['content-length', FieldKind.contentLength],
  ['grpc-timeout', FieldKind.grpcTimeout],
  ['grpc-encoding', FieldKind.grpcEncoding],
  ['grpc-status', FieldKind.grpcStatus],
  ['grpc-message', FieldKind.grpcMessage],
  ['te', FieldKind.te],
  ['connection', FieldKind.forbidden],
  ['keep-alive', FieldKind.forbidden],
  ['proxy-connection', FieldKind.forbidden],
  ['transfer-encoding', FieldKind.forbidden],
  ['upgrade', FieldKind.forbidden],
]);

// Section 8.2.1; a colon only where it marks a pseudo-header, and those are all in the map above.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that are not allowed
const badName = /[\x00-\x20A-Z\x7f-\xff:]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that are not allowed
const badValue = /[\x00\n\r]/;

/** One header field. The tables hold these ready made, so a field that repeats costs no allocation. */
export class HeaderField {
  readonly name: string;
  readonly value: string;
  /** As RFC 7541, section 4.1 counts it. Both texts have one character per byte. */
  readonly size: number;
  readonly kind: number;

  constructor(name: string, value: string) {
    this.name = name;
    this.value = value;
    this.size = name.length + value.length + 32;
    this.kind = kindOf(name, value);
  }
}

function kindOf(name: string, value: string): number {
  if (badValue.test(value)) return FieldKind.forbidden;
  const kind = kinds.get(name);
  if (kind === FieldKind.te && value !== 'trailers') return FieldKind.forbidden;
  if (kind !== undefined) return kind;
  return name === '' || badName.test(name) ? FieldKind.forbidden : FieldKind.other;
}

/** RFC 7541, appendix A; `name` or `name: value`, from index 1. */
const lines = `:authority|:method: GET|:method: POST|:path: /|:path: /index.html|:scheme: http|:scheme: https|:status: 200|
:status: 204|:status: 206|:status: 304|:status: 400|:status: 404|:status: 500|accept-charset|
accept-encoding: gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|
authorization|cache-control|content-disposition|content-encoding|content-language|content-length|content-location|
content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|
if-range|if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|
referer|refresh|retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|
www-authenticate`;

/** Index 1 is the first entry; index 0 is nobody's. */
export const staticTable: readonly (HeaderField | undefined)[] = [
  undefined,
  ...lines
    .replaceAll('\n', '')
    .split('|')
    .map((line) => {
      const [, name = '', value = ''] = /^(:?[^:]+)(?:: (.*))?$/.exec(line) ?? [];
      return new HeaderField(name, value);
    }),
];
invariant(staticTable.length === 62, 'the static table of HPACK has 61 entries');
