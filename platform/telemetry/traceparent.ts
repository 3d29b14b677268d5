import type { SpanContext } from '@opentelemetry/api';

/** W3C Trace Context Level 1, §3.2: `version-traceid-parentid-flags`, lower-case hex; later versions may append. */
const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const noTraceId = '0'.repeat(32);
const noSpanId = '0'.repeat(16);

/** The span a `traceparent` names; undefined when it is absent or not valid (the specification: ignore it then). */
export function parseTraceparent(text: string): SpanContext | undefined {
  if (text.length < 55) return undefined;
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, version, traceId = noTraceId, spanId = noSpanId, flags = '00', rest] = match;
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (traceId === noTraceId || spanId === noSpanId) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
}

export function formatTraceparent(span: SpanContext): string {
  return `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 1) === 1 ? '01' : '00'}`;
}
