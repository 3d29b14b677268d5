/** One line of a Prometheus exposition. */
interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

/** What a metrics port said at one instant. Counters are compared between two of them. */
export class Scrape {
  readonly #samples: readonly Sample[];

  constructor(exposition: string) {
    this.#samples = exposition.split('\n').flatMap((line) => parseSample(line) ?? []);
  }

  /** The sum over all series of a name whose labels say this; undefined when there is none. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.#of(name, labels);
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
  }

  /** The same, apart by the values of one label. */
  by(label: string, name: string, labels: Readonly<Record<string, string>> = {}): ReadonlyMap<string, number> {
    const sums = new Map<string, number>();
    for (const sample of this.#of(name, labels)) {
      const key = sample.labels.get(label) ?? '';
      sums.set(key, (sums.get(key) ?? 0) + sample.value);
    }
    return sums;
  }

  #of(name: string, labels: Readonly<Record<string, string>>): readonly Sample[] {
    const wanted = Object.entries(labels);
    return this.#samples.filter(
      (sample) => sample.name === name && wanted.every(([label, value]) => sample.labels.get(label) === value),
    );
  }
}

function parseSample(line: string): Sample | undefined {
  const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
  if (match === null) return undefined;
  const [, name = '', labelText = '', value = ''] = match;
  const labels = new Map<string, string>();
  for (const [, label = '', text = ''] of labelText.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels.set(
      label,
      text.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped)),
    );
  }
  return { name, labels, value: Number(value) };
}

/** What a model's batches were between two scrapes. */
export interface BatchChange {
  readonly rows: number;
  readonly batches: number;
  /** Rows by executed batch; NaN when there was none. */
  readonly meanRows: number;
  /** Why batches were closed, as shares of them all, the most frequent first. */
  readonly reasons: readonly (readonly [reason: string, share: number])[];
  /** Rows executed after their deadline; undefined where the server does not count them. */
  readonly expiredRows: number | undefined;
}

/** From Triton's counters, which any server that has them may be asked for, and from our own. */
export function batchChange(before: Scrape, after: Scrape, model: string): BatchChange {
  const grown = (name: string): number => (after.sum(name, { model }) ?? 0) - (before.sum(name, { model }) ?? 0);
  const rows = grown('nv_inference_count');
  const batches = grown('nv_inference_exec_count');
  const closedBefore = before.by('reason', 'shoal_batches_total', { model });
  const closed = [...after.by('reason', 'shoal_batches_total', { model })].map(
    ([reason, count]) => [reason, count - (closedBefore.get(reason) ?? 0)] as const,
  );
  const all = closed.reduce((sum, [, count]) => sum + count, 0);
  const expired = 'shoal_expired_rows_executed_total';
  return {
    rows,
    batches,
    meanRows: rows / batches,
    reasons: closed
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => [reason, count / all] as const)
      .sort((a, b) => b[1] - a[1]),
    expiredRows: after.sum(expired) === undefined ? undefined : grown(expired),
  };
}
