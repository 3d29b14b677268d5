import { invariant, ShoalError } from '../../../core/errors.js';
import type { TensorSpec } from '../../../core/tensor.js';
import { msText } from '../../number-text.js';
import type { Load, LoadGroup } from '../../plan.js';
import type { RunSummary } from '../../point.js';
import { median } from '../../spread.js';
import { type QuietLimits, undisturbed } from '../quiet-machine.js';
import { type BatchChange, batchChange } from '../scrape.js';
import type { ServerUnderTest } from '../server-under-test.js';
import { runOnce, type SuiteLoad, type SuiteRun } from '../suite-run.js';

/** What all bars of one suite have in common. */
export interface BarContext extends SuiteLoad, QuietLimits {
  /** Holds the models in `models/`; what servers write goes beside them. */
  readonly folder: string;
  readonly repetitions: number;
  readonly serverCpus: string;
  /** Further words for `shoal up`. */
  readonly serverFlags: readonly string[];
  readonly coordinatorFlags: readonly string[];
  readonly workerFlags: readonly string[];
  /** How busy the two fast workers of the late-binding bar are, 0…1, if each request is a batch of its own. */
  readonly lateUse: number;
  /** Share of capacity that ten equal callers ask for together. */
  readonly fairUse: number;
  say(line: string): void;
}

/** One number that is held against what is wanted of it, or only reported. */
export interface Judgement {
  readonly what: string;
  /** NaN: it could not be measured. */
  readonly value: number;
  /** The number with its unit. */
  readonly text: string;
  /** In words; empty: only reported. */
  readonly wanted: string;
  readonly verdict: 'PASS' | 'MISS' | '—';
}

export interface BarResult {
  readonly bar: string;
  readonly judgements: readonly Judgement[];
  /** Why the numbers are not to be believed; empty when they are. */
  readonly doubts: readonly string[];
  /** Measurements during which others used the machine. */
  readonly disturbed: number;
  /** Everything that was measured, by what it was. */
  readonly runs: readonly { readonly label: string; readonly summary: RunSummary; readonly batches: BatchChange }[];
}

type Limit = { readonly atLeast: number } | { readonly atMost: number };

/** Holds a value against a limit. A value that could not be measured passes nothing and misses nothing. */
export function judged(what: string, value: number, limit: Limit, text: (value: number) => string): Judgement {
  const isEnough = 'atLeast' in limit ? value >= limit.atLeast : value <= limit.atMost;
  return {
    what,
    value,
    text: Number.isNaN(value) ? '—' : text(value),
    wanted: 'atLeast' in limit ? `≥ ${text(limit.atLeast)}` : `≤ ${text(limit.atMost)}`,
    verdict: Number.isNaN(value) ? '—' : isEnough ? 'PASS' : 'MISS',
  };
}

/** A value that is only reported. */
export const told = (what: string, value: number, text: string): Judgement => ({
  what,
  value,
  text,
  wanted: '',
  verdict: '—',
});

/** Of a ratio; infinite when what is divided never ends. */
export const timesText = (ratio: number): string =>
  ratio === Number.POSITIVE_INFINITY ? 'no end' : `${ratio.toFixed(2)} ×`;

/** Of a 99th percentile in microseconds. */
export const percentileText = (us: number): string =>
  us === Number.POSITIVE_INFINITY ? 'more than 1 % failed' : `${msText(us)} ms`;

export const bigInput: TensorSpec = { name: 'x', datatype: 'FP32', shape: [1, 3072] };

export const groupOf = (load: Load, changes: Partial<LoadGroup> = {}): LoadGroup => ({
  name: '',
  load,
  deadlineMs: undefined,
  callers: [],
  ...changes,
});

export const closed = (concurrency: number): Load => ({ kind: 'closed', concurrency });
export const open = (ratePerS: number): Load => ({ kind: 'open', ratePerS });

const capacityAttempts = 3;

/** Takes the runs of one bar and keeps them by label; every repetition adds one to each. */
export class BarRuns {
  readonly #context: BarContext;
  readonly #bar: string;
  readonly #runs: { label: string; summary: RunSummary; batches: BatchChange }[] = [];
  /** Faults that a bar provokes on purpose are none of its doubts. */
  readonly #provoked: ReadonlySet<string>;
  #disturbed = 0;

  constructor(context: BarContext, bar: string, provoked: readonly string[] = []) {
    this.#context = context;
    this.#bar = bar;
    this.#provoked = new Set(provoked);
  }

  /** Measures one run of groups. `label` names the run; several groups are `label/group`. */
  async take(label: string, run: SuiteRun): Promise<readonly RunSummary[]> {
    return this.#keep(
      run.groups.map(({ name }) => (name === '' ? label : `${label}/${name}`)),
      run.server,
      run.model,
      () => runOnce(this.#context, run),
    );
  }

  /**
   * Good answers per second of a closed loop, kept as `capacity`: what open loops are measured in.
   * @throws INTERNAL when there are none, however often it is tried
   */
  async capacityPerS(run: Omit<SuiteRun, 'groups'>, callers: number): Promise<number> {
    for (let attempt = 1; attempt <= capacityAttempts; attempt++) {
      const [seen] = await this.take('capacity', { ...run, groups: [groupOf(closed(callers))] });
      if (seen !== undefined && seen.throughputPerS > 0) return seen.throughputPerS;
      // The harness or the server never got to run: nobody's capacity.
      this.#runs.pop();
    }
    const message = `Nothing was answered while the capacity was measured for ${this.#bar}, ${capacityAttempts} times.`;
    throw new ShoalError('INTERNAL', message);
  }

  /** As `take`, for a run of one group that somebody else makes. */
  async takeBy(
    label: string,
    server: ServerUnderTest,
    model: string,
    measure: () => Promise<RunSummary>,
  ): Promise<RunSummary> {
    const [summary] = await this.#keep([label], server, model, async () => [await measure()]);
    invariant(summary !== undefined, 'a run of one group has one summary');
    return summary;
  }

  /** Over the repetitions so far. */
  values(label: string, of: (summary: RunSummary, batches: BatchChange) => number): readonly number[] {
    return this.#runs.filter((run) => run.label === label).map(({ summary, batches }) => of(summary, batches));
  }

  median(label: string, of: (summary: RunSummary, batches: BatchChange) => number): number {
    return median(this.values(label, of));
  }

  batches(label: string): readonly BatchChange[] {
    return this.#runs.filter((run) => run.label === label).map(({ batches }) => batches);
  }

  result(judgements: readonly Judgement[], doubts: readonly string[] = []): BarResult {
    const invalid = this.#runs
      .filter(({ label }) => !this.#provoked.has(label))
      .flatMap(({ label, summary }) => summary.verdict.reasons.map((reason) => `${label}: ${reason}`));
    return {
      bar: this.#bar,
      judgements,
      doubts: [...new Set([...doubts, ...invalid])],
      disturbed: this.#disturbed,
      runs: this.#runs,
    };
  }

  async #keep(
    labels: readonly string[],
    server: ServerUnderTest,
    model: string,
    measure: () => Promise<readonly RunSummary[]>,
  ): Promise<readonly RunSummary[]> {
    const { measured, disturbed } = await undisturbed(this.#context, async () => {
      const before = await server.scrape();
      const summaries = await measure();
      return { summaries, batches: batchChange(before, await server.scrape(), model) };
    });
    if (disturbed) this.#disturbed++;
    measured.summaries.forEach((summary, i) => {
      const label = labels[i] ?? '';
      this.#runs.push({ label, summary, batches: measured.batches });
      this.#context.say(
        `${this.#bar}, ${label}: ${summary.throughputPerS.toFixed(0)}/s, p99 ${msText(summary.latencyUs.p99)} ms` +
          `, mean batch ${measured.batches.meanRows.toFixed(1)}${disturbed ? ' (disturbed)' : ''}`,
      );
    });
    return measured.summaries;
  }
}

/** `full 93 %, idle 7 %`, over all runs of a label. */
export function reasonsText(batches: readonly BatchChange[]): string {
  const sums = new Map<string, number>();
  for (const { reasons, batches: count } of batches) {
    for (const [reason, share] of reasons) sums.set(reason, (sums.get(reason) ?? 0) + share * count);
  }
  const all = [...sums.values()].reduce((sum, count) => sum + count, 0);
  return [...sums]
    .sort((a, b) => b[1] - a[1])
    .map(([reason, count]) => `${reason} ${((count / all) * 100).toFixed(0)} %`)
    .join(', ');
}
