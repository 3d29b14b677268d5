import { SpanStatusCode, trace } from '@opentelemetry/api';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterEach, expect, it } from 'vitest';
import type { Batch } from '../../../core/link.js';
import { endExecuteSpan, startExecuteSpan, traceparentOf } from '../../../worker/execute-span.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
const batch: Batch = {
  batchId: 1,
  model: 'm',
  version: '1',
  device: '',
  rows: 3,
  inputs: [],
  outputs: [],
  budgetUs: 1,
  traceparent,
  attempt: 1,
};
afterEach(() => trace.disable());

it('is a child of the batch and the parent of what the executor does', () => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  trace.setGlobalTracerProvider(provider);
  const span = startExecuteSpan(batch);
  const onward = traceparentOf(span, 'unused');
  endExecuteSpan(span, 'w:m/1#0', 'It broke.');
  const [ended] = exporter.getFinishedSpans();
  expect(ended?.name).toBe('shoal.execute');
  expect(ended?.spanContext().traceId).toBe(traceId);
  expect(ended?.parentSpanContext?.spanId).toBe('b7ad6b7169203331');
  expect(ended?.attributes).toMatchObject({ 'shoal.model': 'm', 'shoal.rows': 3, 'shoal.instance': 'w:m/1#0' });
  expect(ended?.status).toEqual({ code: SpanStatusCode.ERROR, message: 'It broke.' });
  expect(onward).toBe(`00-${traceId}-${ended?.spanContext().spanId}-01`);
});

it('is not made for a batch without a trace, or with one that cannot be read', () => {
  expect(startExecuteSpan({ ...batch, traceparent: '' })).toBeUndefined();
  expect(startExecuteSpan({ ...batch, traceparent: 'rubbish' })).toBeUndefined();
  expect(traceparentOf(undefined, traceparent)).toBe(traceparent);
});
