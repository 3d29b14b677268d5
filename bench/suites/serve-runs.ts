import { join } from 'node:path';
import { invariant } from '../../core/errors.js';
import type { TensorSpec } from '../../core/tensor.js';
import { batchSizes, type Ceiling, combineCeiling, runCeiling } from '../ceiling.js';
import type { CeilingSample } from '../ceiling-messages.js';
import type { ClientKind } from '../infer-caller.js';
import type { BenchModel } from '../models/generate.js';
import { withNullServer } from '../null-fleet.js';
import { msText } from '../number-text.js';
import { pointsOf } from '../plan.js';
import { type RunSummary, summarisePoint } from '../point.js';
import type { CpuWatch } from '../process-cpu.js';
import { thisMachine } from '../report.js';
import { runSession } from '../session.js';
import { spread } from '../spread.js';
import { runExternal } from './external-load.js';
import { OthersGauge, waitForQuiet } from './quiet-machine.js';
import type { ServePoint, ServeResult } from './serve-report.js';
import { type ServerUnderTest, startServer } from './server-under-test.js';

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

export interface ServePlan {
  readonly subjects: readonly (Subject & { readonly model: BenchModel })[];
  /** Holds the models in `models/`; the server's data go beside them. */
  readonly folder: string;
  readonly repetitions: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly serverCpus: string;
  readonly loadCpus: string;
  readonly processes: number;
  readonly client: ClientKind;
  /** Cores' worth of work by others above which a point counts as disturbed. */
  readonly mostOthers: number;
  readonly quietLimitMs: number;
  /** Words of another load generator's command; empty: our own. */
  readonly loadgen: readonly string[];
}

/** A disturbed point is measured again this often before it is kept and flagged. */
const attempts = 3;
const mostRows = 64;
const never = new AbortController().signal;

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
      const point = await undisturbed(plan, () => load(plan, subject, concurrency, server));
      push(taken, pointKey(subject, concurrency), point);
      const { throughputPerS, latencyUs } = point.run;
      say(
        `${repetition}/${plan.repetitions} ${subject.model} at ${concurrency}: ${throughputPerS.toFixed(0)}/s, ` +
          `p50 ${msText(latencyUs.p50)} ms${point.disturbed ? ' (disturbed)' : ''}`,
      );
    }
  };
  for (repetition = 1; repetition <= plan.repetitions; repetition++) {
    const data = join(plan.folder, `data-${repetition}`);
    const server = await startServer(join(plan.folder, 'models'), models, plan.serverCpus, data);
    try {
      for (const subject of plan.subjects) {
        await waitForQuiet(plan.mostOthers, plan.quietLimitMs);
        push(samples, subject.model, ...(await bareLoop(plan, subject)));
        await loads(subject, server);
      }
      await withNullServer(plan.serverCpus, (address, pid) => loads(nullSubject, { ...server, pid, address }));
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

const bareLoop = (plan: ServePlan, { model, input }: Subject): Promise<readonly CeilingSample[]> =>
  runCeiling(
    {
      modelFile: join(plan.folder, 'models', model, '1', 'model.onnx'),
      providers: ['cpu'],
      intraOpThreads: 1,
      inputs: { specs: [input], batched: true, files: new Map() },
      batchSizes: batchSizes(mostRows),
      warmupMs: 250,
      durationMs: 1000,
      seed: 1,
    },
    plan.serverCpus,
    never,
  );

async function undisturbed(plan: ServePlan, measure: () => Promise<Omit<Taken, 'disturbed'>>): Promise<Taken> {
  for (let attempt = 1; ; attempt++) {
    await waitForQuiet(plan.mostOthers, plan.quietLimitMs);
    const others = new OthersGauge();
    const measured = await measure();
    const disturbed = others.read() > plan.mostOthers;
    if (!disturbed || attempt === attempts) return { ...measured, disturbed };
  }
}

async function load(
  plan: ServePlan,
  subject: Subject,
  concurrency: number,
  server: ServerUnderTest,
): Promise<Omit<Taken, 'disturbed'>> {
  const before = await server.batchCounts(subject.model);
  const run = await (plan.loadgen.length > 0 ? external : own)(plan, subject, concurrency, server);
  const after = await server.batchCounts(subject.model);
  return { run, meanBatch: (after.rows - before.rows) / Math.max(1, after.batches - before.batches) };
}

/** The coordinator's process, and its children by name. */
const watchesOf = (server: ServerUnderTest): readonly CpuWatch[] => [{ name: 'shoal', pids: [server.pid], tree: true }];

async function own(
  plan: ServePlan,
  subject: Subject,
  concurrency: number,
  server: ServerUnderTest,
): Promise<RunSummary> {
  const report = await runSession(
    {
      target: { server: server.address, model: subject.model, version: '' },
      points: pointsOf([{ kind: 'closed', concurrency }]),
      inputs: [{ rows: undefined, shapes: new Map(), files: new Map() }],
      runs: 1,
      warmupMs: plan.warmupMs,
      durationMs: plan.durationMs,
      drainMs: 10_000,
      maxInFlight: 20_000,
      pacing: 'spin',
      seed: 1,
      payloads: 8,
      verify: false,
      processes: plan.processes,
      calls: { client: plan.client, connections: 1, metadata: [] },
      cpus: plan.loadCpus,
      watches: watchesOf(server),
      ceiling: undefined,
    },
    { progressed: () => undefined },
    never,
  );
  const run = report.points[0]?.runs[0];
  invariant(run !== undefined, 'a session of one run reports it');
  return run;
}

const external = (
  plan: ServePlan,
  subject: Subject,
  concurrency: number,
  server: ServerUnderTest,
): Promise<RunSummary> =>
  runExternal({
    command: plan.loadgen,
    server: server.address,
    model: subject.model,
    input: subject.input,
    concurrency,
    durationMs: plan.durationMs,
    warmupMs: plan.warmupMs,
    cpus: plan.loadCpus,
    watches: watchesOf(server),
    answered: async () => (await server.batchCounts(subject.model)).rows,
  });

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
