import { isSpanContextValid, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Batch } from '../core/link.js';

const form = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/**
 * The span of one batch's time on this worker, child of the coordinator's batch span. Undefined when the batch has
 * no trace: then there is nothing to pay for. Without a registered SDK the span does nothing.
 */
export function startExecuteSpan(batch: Batch): Span | undefined {
  const match = batch.traceparent === '' ? null : form.exec(batch.traceparent);
  if (match === null) return undefined;
  const [, traceId = '', spanId = '', flags = '0'] = match;
  const parent = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  if (!isSpanContextValid(parent)) return undefined;
  return trace.getTracer('shoal').startSpan(
    'shoal.execute',
    {
      kind: SpanKind.SERVER,
      attributes: {
        'shoal.model': batch.model,
        'shoal.version': batch.version,
        'shoal.rows': batch.rows,
        'shoal.attempt': batch.attempt,
      },
    },
    trace.setSpanContext(ROOT_CONTEXT, parent),
  );
}

/** What a process further down takes for its parent. */
export function traceparentOf(span: Span | undefined, otherwise: string): string {
  const context = span?.spanContext();
  if (context === undefined || !isSpanContextValid(context)) return otherwise;
  return `00-${context.traceId}-${context.spanId}-${context.traceFlags.toString(16).padStart(2, '0')}`;
}

export function endExecuteSpan(span: Span | undefined, instance: string, failure: string | undefined): void {
  if (span === undefined) return;
  span.setAttribute('shoal.instance', instance);
  if (failure !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
  span.end();
}
