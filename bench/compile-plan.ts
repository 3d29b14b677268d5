import { readFileSync } from 'node:fs';
import { ShoalError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { batchSizes, findModelFile } from './ceiling.js';
import { parseDurationMs, parsePositiveDurationMs } from './duration.js';
import { parseGroups } from './groups.js';
import { clientKinds } from './infer-caller.js';
import { parseNpy } from './npy.js';
import {
  oneOf,
  parseCaller,
  parseCount,
  parseCpus,
  parseInputFile,
  parseLoads,
  parseMetadata,
  parseNumber,
  parseShapes,
} from './options.js';
import { pointsOf } from './plan.js';
import { parseCpuWatch } from './process-cpu.js';
import type { CeilingWish, SessionPlan } from './session.js';

/** The options of `shoal bench` as they were typed. */
export interface CommandOptions {
  readonly server: string;
  readonly modelVersion: string;
  readonly concurrency?: string;
  readonly rate?: string;
  readonly group: readonly string[];
  readonly duration: string;
  readonly warmup: string;
  readonly drain: string;
  readonly deadlineMs?: string;
  readonly maxInflight: string;
  readonly pacing: string;
  readonly input: readonly string[];
  readonly shape: readonly string[];
  readonly batch?: string;
  readonly payloads: string;
  readonly processes: string;
  readonly client: string;
  readonly connections: string;
  readonly caller: readonly string[];
  readonly metadata: readonly string[];
  readonly cpus: string;
  readonly seed: string;
  readonly runs: string;
  readonly cpuOf: readonly string[];
  readonly verify: boolean;
  readonly ceiling?: string | true;
  readonly models: string;
  readonly maxBatch: string;
  readonly ceilingThreads: string;
  readonly ceilingDuration: string;
  readonly ceilingProviders: string;
  readonly ceilingCpus: string;
  readonly null: boolean;
  readonly output: string;
  readonly save?: string;
}

/** Checks everything that can be checked before a server is asked. @throws BAD_SETTING naming the option */
export function compilePlan(model: string | undefined, options: CommandOptions): SessionPlan {
  if (options.null && (model !== undefined || options.ceiling !== undefined)) {
    throw new ShoalError('BAD_SETTING', '--null measures the harness alone: it takes no model and no --ceiling.');
  }
  if (!options.null && model === undefined) {
    throw new ShoalError('BAD_SETTING', 'shoal bench wants the name of a model, or --null.');
  }
  const name = model ?? '';
  const shapes = parseShapes(options.shape);
  if (options.ceiling !== undefined && shapes.length > 1) {
    throw new ShoalError('BAD_SETTING', '--ceiling runs the bare loop with one shape, and --shape gives several.');
  }
  const rows = options.batch === undefined ? undefined : parseCount('--batch', options.batch);
  const files = new Map(options.input.map(readInput));
  return {
    target: { server: options.server, model: name, version: options.modelVersion },
    points: pointsWanted(options),
    inputs: shapes.map((shape) => ({ rows, shapes: shape, files })),
    runs: parseCount('--runs', options.runs, 1, 1000),
    warmupMs: parseDurationMs('--warmup', options.warmup),
    durationMs: parsePositiveDurationMs('--duration', options.duration),
    drainMs: parseDurationMs('--drain', options.drain),
    maxInFlight: parseCount('--max-inflight', options.maxInflight),
    pacing: oneOf('--pacing', options.pacing, ['spin', 'timer']),
    seed: parseCount('--seed', options.seed, 0, Number.MAX_SAFE_INTEGER),
    payloads: parseCount('--payloads', options.payloads, 1, 10_000),
    verify: options.verify,
    processes: parseCount('--processes', options.processes, 1, 256),
    calls: {
      client: oneOf('--client', options.client, clientKinds),
      connections: parseCount('--connections', options.connections, 1, 1000),
      metadata: options.metadata.map(parseMetadata),
    },
    cpus: parseCpus('--cpus', options.cpus),
    watches: options.cpuOf.map(parseCpuWatch),
    ceiling: options.ceiling === undefined ? undefined : ceilingWish(options.ceiling, name, options),
  };
}

function pointsWanted(options: CommandOptions): SessionPlan['points'] {
  const { concurrency, rate, deadlineMs: deadline, group } = options;
  const deadlineMs = deadline === undefined ? undefined : parseNumber('--deadline-ms', deadline, 0.001, 1e9);
  const callers = options.caller.map(parseCaller);
  if (group.length === 0) return pointsOf(parseLoads(concurrency, rate), deadlineMs, callers);
  if (concurrency !== undefined || rate !== undefined) {
    throw new ShoalError(
      'BAD_SETTING',
      'A --group says its own rate or concurrency; leave --rate and --concurrency out.',
    );
  }
  return [parseGroups(group, { deadlineMs, callers })];
}

function ceilingWish(file: string | true, model: string, options: CommandOptions): CeilingWish {
  const durationMs = parsePositiveDurationMs('--ceiling-duration', options.ceilingDuration);
  return {
    modelFile: file === true ? findModelFile(options.models, model, options.modelVersion) : file,
    providers: options.ceilingProviders.split(','),
    intraOpThreads: parseCount('--ceiling-threads', options.ceilingThreads, 1, 1024),
    batchSizes: batchSizes(parseCount('--max-batch', options.maxBatch, 1, 65_536)),
    warmupMs: durationMs / 4,
    durationMs,
    cpus: parseCpus('--ceiling-cpus', options.ceilingCpus),
  };
}

function readInput(text: string): readonly [string, Tensor] {
  const [name, file] = parseInputFile(text);
  try {
    return [name, parseNpy(name, readFileSync(file), file)];
  } catch (thrown) {
    if (thrown instanceof ShoalError) throw thrown;
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new ShoalError('BAD_SETTING', `--input cannot read ${file}: ${why}.`, { cause: thrown });
  }
}
