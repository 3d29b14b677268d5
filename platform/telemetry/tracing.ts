import {
  type Attributes,
  context,
  type Link,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { ErrorCode } from '../../core/errors.js';
import { formatTraceparent, parseTraceparent } from './traceparent.js';

/** The span of one caller's request. */
export interface RequestSpan {
  readonly span: Span;
  /** `code` undefined: it was answered. */
  end(code?: ErrorCode): void;
}

/** A request as the batch span sees it: the dispatcher's queue entries have this shape. */
export interface Traced {
  /** As received; empty when none. */
  readonly traceparent: string;
  readonly span: RequestSpan | undefined;
}

export interface BatchSpan {
  /** What goes to the worker; empty when there is nothing to tell. */
  readonly traceparent: string;
  end(code?: ErrorCode): void;
}

const tracerName = 'shoal';

/**
 * The tracer of the registered SDK, or undefined while there is none. Nothing is remembered: an SDK may be
 * registered or taken away at any time, and asking costs some tens of nanoseconds.
 */
function activeTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  return provider instanceof ProxyTracerProvider
    ? provider.getDelegateTracer(tracerName)
    : provider.getTracer(tracerName);
}

/**
 * Starts the span of one request, as a child of the caller's span where `traceparent` names one.
 * @returns undefined, at next to no cost, while no OpenTelemetry SDK is registered.
 */
export function startRequestSpan(traceparent: string, model: string): RequestSpan | undefined {
  const tracer = activeTracer();
  if (tracer === undefined) return undefined;
  const span = startChild(tracer, traceparent, 'infer', SpanKind.SERVER, { 'shoal.model': model });
  return { span, end: (code) => endSpan(span, code) };
}

/**
 * Starts the span of one batch: a child of its first sampled request (so that one sampler's decision holds
 * for the whole way), with a link to every request it serves. With no SDK, or no sampled request, there is
 * no span, and the first request's `traceparent` travels on as it came.
 */
export function startBatchSpan(members: readonly Traced[], model: string, version: string, rows: number): BatchSpan {
  const tracer = activeTracer();
  const parent = tracer === undefined ? undefined : members.find(isSampled)?.span;
  if (tracer === undefined || parent === undefined) return passOn(members);
  const links: Link[] = [];
  for (const { span } of members) if (span !== undefined) links.push({ context: span.span.spanContext() });
  const attributes = {
    'shoal.model': model,
    'shoal.version': version,
    'shoal.batch.rows': rows,
    'shoal.batch.requests': members.length,
  };
  const span = tracer.startSpan(
    'batch',
    { kind: SpanKind.CLIENT, attributes, links },
    trace.setSpan(ROOT_CONTEXT, parent.span),
  );
  return { traceparent: formatTraceparent(span.spanContext()), end: (code) => endSpan(span, code) };
}

/**
 * For the far side of a link: a span of `name` under the span that `traceparent` names.
 * @returns undefined while no SDK is registered.
 */
export function startRemoteSpan(traceparent: string, name: string, attributes: Attributes): RequestSpan | undefined {
  const tracer = activeTracer();
  if (tracer === undefined) return undefined;
  const span = startChild(tracer, traceparent, name, SpanKind.SERVER, attributes);
  return { span, end: (code) => endSpan(span, code) };
}

function startChild(tracer: Tracer, traceparent: string, name: string, kind: SpanKind, attributes: Attributes): Span {
  const remote = parseTraceparent(traceparent);
  const parent = remote === undefined ? context.active() : trace.setSpanContext(ROOT_CONTEXT, remote);
  return tracer.startSpan(name, { kind, attributes }, parent);
}

const isSampled = (member: Traced): boolean =>
  member.span !== undefined && (member.span.span.spanContext().traceFlags & 1) === 1;

function endSpan(span: Span, code: ErrorCode | undefined): void {
  if (code !== undefined) {
    span.setAttribute('shoal.error', code);
    span.setStatus({ code: SpanStatusCode.ERROR, message: code });
  }
  span.end();
}

const endNothing = (): void => undefined;
const silent: BatchSpan = Object.freeze({ traceparent: '', end: endNothing });

function passOn(members: readonly Traced[]): BatchSpan {
  for (const { traceparent } of members) {
    if (traceparent !== '') return { traceparent, end: endNothing };
  }
  return silent;
}
