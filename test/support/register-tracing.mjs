// For `node --import`: registers an OpenTelemetry SDK that appends every finished span, as a line of JSON, to a file
// of this process in the folder TRACE_FOLDER. Executors make no spans and go without.
import { appendFileSync } from 'node:fs';
import path from 'node:path';

if (!process.argv[1]?.includes('executor')) {
  const { trace } = await import('@opentelemetry/api');
  const { AlwaysOnSampler, BasicTracerProvider, ParentBasedSampler, SimpleSpanProcessor } = await import(
    '@opentelemetry/sdk-trace-base'
  );
  const file = path.join(process.env.TRACE_FOLDER, `${process.pid}.jsonl`);
  const exporter = {
    export(spans, done) {
      for (const span of spans) {
        const { traceId, spanId } = span.spanContext();
        const line = {
          pid: process.pid,
          name: span.name,
          traceId,
          spanId,
          parentSpanId: span.parentSpanContext?.spanId,
          links: span.links.map(({ context }) => context.spanId),
          attributes: span.attributes,
        };
        appendFileSync(file, `${JSON.stringify(line)}\n`);
      }
      done({ code: 0 });
    },
    shutdown: () => Promise.resolve(),
  };
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({
      sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
      spanProcessors: [new SimpleSpanProcessor(exporter)],
    }),
  );
}
