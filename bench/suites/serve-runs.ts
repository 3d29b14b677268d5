import { join } from 'node:path';
import type { TensorSpec } from '../../core/tensor.js';
import { batchSizes, type Ceiling, combineCeiling } from '../ceiling.js';
import type { CeilingSample } from '../ceiling-messages.js';
import type { BenchModel } from '../models/generate.js';
import { withNullServer } from '../null-fleet.js';
import { msText } from '../number-text.js';
import { type RunSummary, summarisePoint } from '../point.js';
import { thisMachine } from '../report.js';
import { spread } from '../spread.js';
import { type QuietLimits, undisturbed, waitForQuiet } from './quiet-machine.js';
import { batchChange } from './scrape.js';
import type { ServePoint, ServeResult } from './serve-report.js';
import { type ServerUnderTest, startServer } from './server-under-test.js';
import { bareLoop, closedLoop, type SuiteLoad } from './suite-run.js';

interface Subject {
  readonly model: BenchModel | 'null';
  /** One row. */
  readonly input: TensorSpec;
  readonly concurrencies: readonly number[];
}

const rowOf = (width: number): TensorSpec => ({ name: 'x', datatype: 'FP32', shape: [1, width] });

/** Not a model: the server that does nothing, on the same core. What it costs is the harness and grpc-js. */
const nullSubject: Subject = { model: 'null', input: rowOf(64), concurrencies: [1, 64] };

export const serveSubjects: readonly (Subject & { readonly model: BenchModel })[] = [
  { model: 'big', input: rowOf(3072), concurrencies: [1, 64, 128] },
  { model: 'mid', input: rowOf(1024), concurrencies: [1, 64] },
  { model: 'tiny', input: rowOf(64), concurrencies: [1, 64] },
];

export interface ServePlan extends SuiteLoad, QuietLimits {
  readonly subjects: readonly (Subject & { readonly model: BenchModel })[];
  /** Holds the models in `models/`; the server's data go beside them. */
  readonly folder: string;
  readonly repetitions: number;
  readonly serverCpus: string;
}

const mostRows = 64;

interface Taken {
  readonly run: RunSummary;
  readonly meanBatch: number;
  readonly disturbed: boolean;
}

/**
 * All repetitions, each with a fresh server; within one, every model's bare loop directly before its load, and last
 * the null server while the other idles.
 */
export async function runServeSuite(plan: ServePlan, say: (line: string) => void): Promise<ServeResult> {
  const samples = new Map<string, CeilingSample[]>();
  const taken = new Map<string, Taken[]>();
  const models = plan.subjects.map((subject) => subject.model);
  let repetition = 0;
  const loads = async (subject: Subject, server: ServerUnderTest): Promise<void> => {
    for (const concurrency of subject.concurrencies) {
      const { measured, disturbed } = await undisturbed(plan, () => load(plan, subject, concurrency, server));
      const point: Taken = { ...measured, disturbed };
      push(taken, pointKey(subject, concurrency), point);
      const { throughputPerS, latencyUs } = point.run;
      say(
        `${repetition}/${plan.repetitions} ${subject.model} at ${concurrency}: ${throughputPerS.toFixed(0)}/s, ` +
          `p50 ${msText(latencyUs.p50)} ms${point.disturbed ? ' (disturbed)' : ''}`,
      );
    }
  };
  for (repetition = 1; repetition <= plan.repetitions; repetition++) {
    const server = await startServer({
      repository: join(plan.folder, 'models'),
      models,
      cpus: plan.serverCpus,
      dataFolder: join(plan.folder, `data-${repetition}`),
    });
    try {
      for (const subject of plan.subjects) {
        await waitForQuiet(plan.mostOthers, plan.quietLimitMs);
        const modelFile = join(plan.folder, 'models', subject.model, '1', 'model.onnx');
        const sizes = batchSizes(mostRows);
        push(samples, subject.model, ...(await bareLoop(modelFile, subject.input, sizes, plan.serverCpus)));
        await loads(subject, server);
      }
      await withNullServer(plan.serverCpus, (address, pid) => loads(nullSubject, { ...server, pids: [pid], address }));
    } finally {
      await server.stop();
    }
  }
  return summarise(plan, samples, taken);
}

const pointKey = ({ model }: Subject, concurrency: number): string => `${model} ${concurrency}`;

function push<T>(map: Map<string, T[]>, key: string, ...values: T[]): void {
  map.set(key, [...(map.get(key) ?? []), ...values]);
}

async function load(
  plan: ServePlan,
  subject: Subject,
  concurrency: number,
  server: ServerUnderTest,
): Promise<Omit<Taken, 'disturbed'>> {
  const before = await server.scrape();
  const run = await closedLoop(plan, { ...subject, concurrency, server });
  return { run, meanBatch: batchChange(before, await server.scrape(), subject.model).meanRows };
}

function summarise(
  plan: ServePlan,
  samples: ReadonlyMap<string, readonly CeilingSample[]>,
  taken: ReadonlyMap<string, readonly Taken[]>,
): ServeResult {
  const ceilings: Record<string, Ceiling> = {};
  for (const { model } of plan.subjects) {
    const ceiling = combineCeiling({ modelFile: model, intraOpThreads: 1 }, samples.get(model) ?? []);
    if (ceiling !== undefined) ceilings[model] = ceiling;
  }
  const points = [...plan.subjects, nullSubject].flatMap((subject) =>
    subject.concurrencies.map((concurrency): ServePoint => {
      const runs = taken.get(pointKey(subject, concurrency)) ?? [];
      return {
        model: subject.model,
        concurrency,
        summary: summarisePoint(
          { name: '', load: { kind: 'closed', concurrency }, deadlineMs: undefined, callers: [] },
          runs.map((one) => one.run),
        ),
        meanBatch: spread(runs.map((one) => one.meanBatch)),
        disturbed: runs.filter((one) => one.disturbed).length,
      };
    }),
  );
  return { machine: thisMachine(), ceilings, points };
}
