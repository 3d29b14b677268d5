import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { ShoalError } from '../../core/errors.js';
import { shapeText, type TensorSpec } from '../../core/tensor.js';
import { nothing } from '../latency-histogram.js';
import type { RunSummary } from '../point.js';
import { type CpuWatch, cpuBetween, sampleCpu } from '../process-cpu.js';

const latencies = z.object({
  mean: z.number(),
  p50: z.number(),
  p90: z.number(),
  p95: z.number(),
  p99: z.number(),
  'p99.9': z.number(),
  max: z.number(),
});

/** What an external load generator prints: one JSON object, latencies in microseconds. */
const printed = z.object({
  sent: z.number(),
  ok: z.number(),
  errors: z.record(z.string(), z.number()),
  first_error: z.string().optional(),
  verify_failed: z.number().default(0),
  unfinished: z.number().default(0),
  throughput: z.number(),
  duration_s: z.number(),
  latency_us: latencies,
  client_cpu_us_per_request: z.number(),
});

export interface ExternalRun {
  /** Words of the command, its own options first. */
  readonly command: readonly string[];
  readonly server: string;
  readonly model: string;
  readonly input: TensorSpec;
  readonly concurrency: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly cpus: string;
  readonly watches: readonly CpuWatch[];
  /** Requests the server has answered so far, by its own count. */
  answered(): Promise<number>;
}

/**
 * Makes a closed-loop run with somebody else's load generator, called as
 * `COMMAND --addr A --model M --input NAME:TYPE:DIMS --concurrency C --duration S --warmup S --json`.
 * CPU of the server is taken over the whole call, warm-up included, by all requests the server answered in it.
 * @throws INTERNAL when it fails or prints something else
 */
export async function runExternal(run: ExternalRun): Promise<RunSummary> {
  const dims = shapeText(run.input.shape).slice(1, -1).replaceAll(',', 'x');
  const words = [
    ...['--addr', run.server, '--model', run.model, '--input', `${run.input.name}:${run.input.datatype}:${dims}`],
    ...['--concurrency', run.concurrency, '--duration', run.durationMs / 1000, '--warmup', run.warmupMs / 1000].map(
      String,
    ),
    '--json',
  ];
  const answeredBefore = await run.answered();
  const before = sampleCpu(run.watches);
  const child = spawn('taskset', ['-c', run.cpus, ...run.command, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [output] = await Promise.all([text(child.stdout), once(child, 'close')]);
  const spent = cpuBetween(before, sampleCpu(run.watches));
  const requests = Math.max(1, (await run.answered()) - answeredBefore);
  return {
    ...parseExternal(output),
    serverCpuUsPerRequest: Object.fromEntries(Object.entries(spent).map(([name, cpuUs]) => [name, cpuUs / requests])),
  };
}

/** @throws INTERNAL when `output` is not what a load generator prints */
export function parseExternal(output: string): RunSummary {
  const seen = printed.safeParse(jsonOrUndefined(output));
  if (!seen.success) {
    throw new ShoalError('INTERNAL', `The load generator printed no result: ${output.slice(0, 200)}`);
  }
  const { data } = seen;
  const { 'p99.9': p999, ...rest } = data.latency_us;
  const failed = { ...data.errors, WRONG_ANSWER: data.verify_failed, UNANSWERED: data.unfinished };
  const errors = Object.entries(failed).filter(([, count]) => count > 0);
  const first = data.first_error ?? '';
  return {
    windowMs: data.duration_s * 1000,
    sent: data.sent,
    good: data.ok,
    throughputPerS: data.throughput,
    rowsPerS: data.throughput,
    goodputPerS: data.throughput,
    latencyUs: { ...rest, p999, count: data.ok },
    attainment: data.sent > 0 ? data.ok / data.sent : 0,
    refusedShare: 0,
    refusalUs: nothing,
    meanBatch: undefined,
    sendLagUs: nothing,
    heldBack: 0,
    errors: Object.fromEntries(errors.map(([code, count]) => [code, { count, first, latencyUs: nothing }])),
    clientCpuUsPerRequest: data.client_cpu_us_per_request,
    serverCpuUsPerRequest: {},
    loopUtilisation: 0,
    cpuUtilisation: 0,
    stallMs: 0,
    verdict: {
      valid: errors.length === 0,
      reasons: errors.map(([code, count]) => `${count} requests ended in ${code}: ${first}.`),
    },
  };
}

function jsonOrUndefined(output: string): unknown {
  try {
    return JSON.parse(output);
  } catch {
    return undefined; // refused by the schema, with the text
  }
}
