import { SpanStatusCode, trace } from '@opentelemetry/api';
import {
  AlwaysOnSampler,
  BasicTracerProvider,
  InMemorySpanExporter,
  ParentBasedSampler,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterEach, expect, test } from 'vitest';
import { formatTraceparent, parseTraceparent } from '../../../platform/telemetry/traceparent.js';
import { startBatchSpan, startRemoteSpan, startRequestSpan, type Traced } from '../../../platform/telemetry/tracing.js';

const traceA = `00-${'a'.repeat(32)}-${'1'.repeat(16)}-01`;
const traceB = `00-${'b'.repeat(32)}-${'2'.repeat(16)}-01`;
const unsampled = `00-${'c'.repeat(32)}-${'3'.repeat(16)}-00`;

afterEach(() => trace.disable());

function registerSdk(): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({
      sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
      spanProcessors: [new SimpleSpanProcessor(exporter)],
    }),
  );
  return exporter;
}

const traced = (traceparent: string): Traced => ({ traceparent, span: startRequestSpan(traceparent, 'm') });

test('with no SDK there are no spans, and the first traceparent travels on', () => {
  expect(startRequestSpan(traceA, 'm')).toBeUndefined();
  expect(startRemoteSpan(traceA, 'execute', {})).toBeUndefined();
  const batch = startBatchSpan([traced(''), traced(traceA), traced(traceB)], 'm', '1', 3);
  expect(batch.traceparent).toBe(traceA);
  batch.end();
  expect(startBatchSpan([traced('')], 'm', '1', 1).traceparent).toBe('');
});

test('the batch span is a child of its first sampled request and links to every request', () => {
  const exporter = registerSdk();
  const requests = [traced(unsampled), traced(traceA), traced(traceB), traced('')];
  const batch = startBatchSpan(requests, 'm', '7', 12);
  const far = startRemoteSpan(batch.traceparent, 'execute', { 'shoal.instance': 'cpu-0' });
  far?.end();
  batch.end();
  for (const request of requests) request.span?.end();

  const finished = exporter.getFinishedSpans();
  const [execute, batchSpan, ...requestSpans] = finished;
  expect(finished.map((span) => span.name)).toEqual(['execute', 'batch', 'infer', 'infer', 'infer']);
  const [first, second, third] = requestSpans;
  expect(first?.spanContext().traceId).toBe('a'.repeat(32));
  expect(first?.parentSpanContext?.spanId).toBe('1'.repeat(16));
  expect(second?.spanContext().traceId).toBe('b'.repeat(32));
  expect(third?.parentSpanContext).toBeUndefined();
  expect(batchSpan?.parentSpanContext?.spanId).toBe(first?.spanContext().spanId);
  expect(batchSpan?.links.map((link) => link.context.spanId)).toEqual(
    requests.map((request) => request.span?.span.spanContext().spanId),
  );
  expect(batchSpan?.attributes).toMatchObject({ 'shoal.batch.rows': 12, 'shoal.batch.requests': 4 });
  expect(batch.traceparent).toBe(`00-${'a'.repeat(32)}-${batchSpan?.spanContext().spanId}-01`);
  expect(execute?.parentSpanContext?.spanId).toBe(batchSpan?.spanContext().spanId);
});

test('a batch of unsampled requests makes no span', () => {
  const exporter = registerSdk();
  const batch = startBatchSpan([traced(unsampled)], 'm', '1', 1);
  batch.end();
  expect(batch.traceparent).toBe(unsampled);
  expect(exporter.getFinishedSpans()).toEqual([]);
});

test('a failure is on its span with its code', () => {
  const exporter = registerSdk();
  startRequestSpan(traceA, 'm')?.end('QUEUE_FULL');
  const [span] = exporter.getFinishedSpans();
  expect(span?.status.code).toBe(SpanStatusCode.ERROR);
  expect(span?.attributes['shoal.error']).toBe('QUEUE_FULL');
});

test('traceparent is read by the letter of the specification', () => {
  const span = parseTraceparent(traceA);
  expect(span).toEqual({ traceId: 'a'.repeat(32), spanId: '1'.repeat(16), traceFlags: 1, isRemote: true });
  expect(span && formatTraceparent(span)).toBe(traceA);
  expect(parseTraceparent(`01${traceA.slice(2)}-what-comes-later`)).toBeDefined();
  const wrong = [
    '',
    'garbage',
    traceA.toUpperCase(),
    `${traceA}-more`,
    `ff${traceA.slice(2)}`,
    `00-${'0'.repeat(32)}-${'1'.repeat(16)}-01`,
    `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01`,
    traceA.replace('a', 'g'),
    traceA.slice(0, -1),
  ];
  for (const text of wrong) expect(parseTraceparent(text), text).toBeUndefined();
});
