import type { Metric, Registry } from 'prom-client';
import type { BucketCounts } from './bucket-counts.js';

export type Labels = Readonly<Record<string, string>>;

/** One line of the exposition: `metricName` only where it differs from the metric's own name. */
export interface Sample {
  readonly labels: Labels;
  readonly value: number;
  readonly metricName?: string;
}

type MetricType = 'counter' | 'gauge' | 'histogram';

/**
 * A metric whose samples are read when somebody scrapes, from numbers kept elsewhere. prom-client's own
 * counters hash their labels into a string on every increment; ours cost an addition.
 */
export class LiveMetric {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly aggregator = 'sum';
  readonly #read: () => readonly Sample[];

  constructor(type: MetricType, name: string, help: string, read: () => readonly Sample[]) {
    this.type = type;
    this.name = name;
    this.help = help;
    this.#read = read;
  }

  /** What prom-client asks for at a scrape. */
  get(): { name: string; help: string; type: MetricType; aggregator: string; values: readonly Sample[] } {
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values: this.#read() };
  }

  /** The numbers are not kept here, so there is nothing to reset; prom-client calls it on every metric. */
  reset(): void {
    return;
  }

  register(registry: Registry): void {
    // prom-client reads only `name`, `type`, `help` and `get()`, but its type names the four concrete classes.
    registry.registerMetric(this as unknown as Metric<string>);
  }
}

/** The `_bucket`, `_sum` and `_count` lines of one histogram series. `scale` turns its unit into the exposed one. */
export function histogramSamples(name: string, labels: Labels, counts: BucketCounts, scale: number): Sample[] {
  const samples: Sample[] = [];
  const metricName = `${name}_bucket`;
  let cumulative = 0;
  for (let i = 0; i < counts.bounds.length; i++) {
    cumulative += counts.counts[i] ?? 0;
    const le = String(Number(((counts.bounds[i] ?? 0) * scale).toPrecision(12)));
    samples.push({ metricName, labels: { ...labels, le }, value: cumulative });
  }
  samples.push({ metricName, labels: { ...labels, le: '+Inf' }, value: counts.total });
  samples.push({ metricName: `${name}_sum`, labels, value: counts.sum * scale });
  samples.push({ metricName: `${name}_count`, labels, value: counts.total });
  return samples;
}
