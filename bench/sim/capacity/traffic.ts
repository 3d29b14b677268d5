import { z } from 'zod';
import { ShoalError } from '../../../core/errors.js';
import { poissonArrivals } from '../../arrivals.js';
import type { TracedRequest } from '../load.js';
import type { SimModel } from '../rows.js';
import { streamOf } from '../samplers.js';

/** What is asked, and for how long: the same requests for every number of workers that is tried. */
export interface Traffic {
  readonly requests: readonly TracedRequest[];
  readonly durationMs: number;
}

const line = z.strictObject({
  atMs: z.number().min(0).max(1e12),
  model: z.string(),
  rows: z.int().min(1).max(1_000_000).default(1),
  deadlineMs: z.number().positive().optional(),
});

/**
 * A trace: JSON lines of `atMs` (from its beginning), `model`, `rows` (default 1) and `deadlineMs` (time allowed;
 * default `allowedMs`). Lines need not be in order; empty ones are passed over.
 * @throws BAD_TRACE with the number of the line
 */
export function parseTrace(
  text: string,
  file: string,
  models: ReadonlyMap<string, SimModel>,
  allowedMs: number,
): Traffic {
  const requests: TracedRequest[] = [];
  for (const [index, written] of text.split('\n').entries()) {
    if (written.trim() === '') continue;
    const refuse = (why: string): never => {
      throw new ShoalError('BAD_TRACE', `Line ${index + 1} of ${file} ${why}.`);
    };
    const parsed = line.safeParse(parseJson(written, refuse));
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      return refuse(`is not a request: ${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'wrong'}`);
    }
    const { atMs, model: name, rows, deadlineMs } = parsed.data;
    const model = models.get(name) ?? refuse(`asks for model "${name}", and there is no --profile of it`);
    requests.push({ atMs, model, rows, allowedMs: deadlineMs ?? allowedMs });
  }
  if (requests.length === 0) throw new ShoalError('BAD_TRACE', `The trace ${file} holds no request.`);
  requests.sort((a, b) => a.atMs - b.atMs);
  return { requests, durationMs: Math.max(1, requests.at(-1)?.atMs ?? 0) };
}

function parseJson(text: string, refuse: (why: string) => never): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    return refuse(`is not JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
}

/** Poisson arrivals of `ratePerS` requests a second, each for one of the models, all equally popular. */
export function poissonTraffic(
  options: {
    readonly ratePerS: number;
    readonly rows: number;
    readonly allowedMs: number;
    readonly durationMs: number;
  },
  models: readonly SimModel[],
  seed: number,
): Traffic {
  const { ratePerS, rows, allowedMs, durationMs } = options;
  const random = streamOf(seed, 3);
  const arrivals = poissonArrivals(ratePerS, random);
  const requests: TracedRequest[] = [];
  for (let atMs = arrivals.nextMs(); atMs < durationMs; atMs = arrivals.nextMs()) {
    const model = models[random.int(models.length)];
    if (model !== undefined) requests.push({ atMs, model, rows, allowedMs });
  }
  if (requests.length === 0) throw new ShoalError('BAD_SETTING', '--rate and --duration leave no request to plan for.');
  return { requests, durationMs };
}
