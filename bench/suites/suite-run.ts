import { invariant } from '../../core/errors.js';
import type { TensorSpec } from '../../core/tensor.js';
import { runCeiling } from '../ceiling.js';
import type { CeilingSample } from '../ceiling-messages.js';
import type { ClientKind } from '../infer-caller.js';
import type { InputChoices } from '../inputs.js';
import { type LoadGroup, type Pacing, pointsOf } from '../plan.js';
import type { RunSummary } from '../point.js';
import type { CpuWatch } from '../process-cpu.js';
import { runSession } from '../session.js';
import { runExternal } from './external-load.js';
import type { ServerUnderTest } from './server-under-test.js';

/** How a suite makes its loads. */
export interface SuiteLoad {
  readonly durationMs: number;
  readonly warmupMs: number;
  /** `taskset -c` list; empty: not pinned. */
  readonly loadCpus: string;
  readonly processes: number;
  readonly client: ClientKind;
  /** Words of another load generator's command, for closed loops; empty: our own. */
  readonly loadgen: readonly string[];
}

export interface SuiteRun {
  readonly server: ServerUnderTest;
  readonly model: string;
  readonly groups: readonly LoadGroup[];
  /** Default: what the model says. */
  readonly shapes?: readonly ReadonlyMap<string, readonly number[]>[];
  readonly pacing?: Pacing;
}

const never = new AbortController().signal;

/** The server's processes, by name. */
export const watchesOf = (server: ServerUnderTest): readonly CpuWatch[] => [
  { name: 'shoal', pids: server.pids, tree: true },
];

/** One run of some groups; what was seen of each, in order. */
export async function runOnce(load: SuiteLoad, run: SuiteRun): Promise<readonly RunSummary[]> {
  const choices: readonly InputChoices[] = (run.shapes ?? [new Map()]).map((shapes) => ({
    rows: undefined,
    shapes,
    files: new Map(),
  }));
  const report = await runSession(
    {
      target: { server: run.server.address, model: run.model, version: '' },
      points: [run.groups],
      inputs: choices,
      runs: 1,
      warmupMs: load.warmupMs,
      durationMs: load.durationMs,
      drainMs: 10_000,
      maxInFlight: 20_000,
      pacing: run.pacing ?? 'spin',
      seed: 1,
      payloads: 8,
      verify: false,
      processes: load.processes,
      calls: { client: load.client, connections: 1, metadata: [] },
      cpus: load.loadCpus,
      watches: watchesOf(run.server),
      ceiling: undefined,
    },
    { progressed: () => undefined },
    never,
  );
  return report.points.flatMap(({ runs }) => runs);
}

export interface ClosedLoop {
  readonly server: ServerUnderTest;
  readonly model: string;
  /** One row. */
  readonly input: TensorSpec;
  readonly concurrency: number;
}

/** One closed-loop run, by our own harness or by the other load generator. */
export async function closedLoop(
  load: SuiteLoad,
  { server, model, input, concurrency }: ClosedLoop,
): Promise<RunSummary> {
  if (load.loadgen.length === 0) {
    const [groups = []] = pointsOf([{ kind: 'closed', concurrency }]);
    const [run] = await runOnce(load, { server, model, groups });
    invariant(run !== undefined, 'a session of one run reports it');
    return run;
  }
  return runExternal({
    command: load.loadgen,
    server: server.address,
    model,
    input,
    concurrency,
    durationMs: load.durationMs,
    warmupMs: load.warmupMs,
    cpus: load.loadCpus,
    watches: watchesOf(server),
    answered: async () => (await server.scrape()).sum('nv_inference_count', { model }) ?? 0,
  });
}

/** The bare loop over a model file, one thread, on the server's cores. */
export const bareLoop = (
  modelFile: string,
  input: TensorSpec,
  sizes: readonly number[],
  cpus: string,
): Promise<readonly CeilingSample[]> =>
  runCeiling(
    {
      modelFile,
      providers: ['cpu'],
      intraOpThreads: 1,
      inputs: { specs: [input], batched: true, files: new Map() },
      batchSizes: sizes,
      warmupMs: 250,
      durationMs: 1000,
      seed: 1,
    },
    cpus,
    never,
  );
