import type { Clock, Timers } from '../../core/clock.js';
import type { Random } from '../../core/random.js';
import { leastWidth, type SimModel } from './rows.js';
import { always, type Sampler } from './samplers.js';

/** What a request is like before it is asked. */
export interface RequestPlan {
  readonly model: SimModel;
  readonly caller: string;
  readonly rows: number;
  readonly width: number;
  readonly priority: number;
  /** Time allowed, milliseconds; Infinity: no deadline. */
  readonly allowedMs: number;
  /** The caller hangs up after so long; Infinity: never. */
  readonly cancelAfterMs: number;
}

/** How the requests of one load are drawn. */
export interface RequestMix {
  readonly model: Sampler<SimModel>;
  readonly caller?: Sampler<string>;
  readonly rows?: Sampler<number>;
  readonly width?: Sampler<number>;
  readonly priority?: Sampler<number>;
  readonly allowedMs?: Sampler<number>;
  readonly cancelAfterMs?: Sampler<number>;
}

const never = always(Number.POSITIVE_INFINITY);

export const drawRequest = (mix: RequestMix, random: Random): RequestPlan => ({
  model: mix.model(random),
  caller: (mix.caller ?? always('caller'))(random),
  rows: (mix.rows ?? always(1))(random),
  width: (mix.width ?? always(leastWidth))(random),
  priority: (mix.priority ?? always(0))(random),
  allowedMs: (mix.allowedMs ?? never)(random),
  cancelAfterMs: (mix.cancelAfterMs ?? never)(random),
});

/** A request that a trace wrote down. */
export interface TracedRequest {
  /** From the trace's beginning, milliseconds. */
  readonly atMs: number;
  readonly model: SimModel;
  readonly rows: number;
  readonly allowedMs: number;
}

export type LoadPlan =
  /** Poisson arrivals; with `bursts` the rate alternates between `rate · factor` and nothing, on the average `rate`. */
  | {
      readonly kind: 'open';
      readonly mix: RequestMix;
      readonly ratePerS: number;
      readonly bursts?: { readonly onMs: number; readonly offMs: number };
    }
  /** Callers who each wait for their answer, think, and ask again. */
  | {
      readonly kind: 'closed';
      readonly mix: RequestMix;
      readonly callers: number;
      /** Mean of an exponential distribution; 0: ask again at once. */
      readonly thinkMs: number;
    }
  | { readonly kind: 'traced'; readonly requests: readonly TracedRequest[] };

/** Asks; calls back when the answer is there. */
export type Ask = (plan: RequestPlan, answered: () => void) => void;

/** A refused caller of a closed loop comes again no sooner than this, as a well-behaved client does. */
const pauseMs = 1;

/** Runs one load from now on for `durationMs`. */
export function startLoad(plan: LoadPlan, durationMs: number, clock: Clock & Timers, random: Random, ask: Ask): void {
  const endMs = clock.nowMs() + durationMs;
  if (plan.kind === 'open') startOpen(plan, endMs, clock, random, ask);
  else if (plan.kind === 'closed') startClosed(plan, endMs, clock, random, ask);
  else startTraced(plan.requests, clock, ask);
}

function startOpen(
  { mix, ratePerS, bursts }: Extract<LoadPlan, { kind: 'open' }>,
  endMs: number,
  clock: Clock & Timers,
  random: Random,
  ask: Ask,
): void {
  // Bursts are the same process on a clock that runs only while it is on: exponential phases, memoryless between.
  const onShare = bursts === undefined ? 1 : bursts.onMs / (bursts.onMs + bursts.offMs);
  const meanGapMs = (1000 / ratePerS) * onShare;
  let onLeftMs = bursts === undefined ? Number.POSITIVE_INFINITY : random.exponential(bursts.onMs);
  const gapMs = (): number => {
    let wantedMs = random.exponential(meanGapMs);
    let gap = 0;
    while (bursts !== undefined && wantedMs > onLeftMs) {
      wantedMs -= onLeftMs;
      gap += onLeftMs + random.exponential(bursts.offMs);
      onLeftMs = random.exponential(bursts.onMs);
    }
    onLeftMs -= wantedMs;
    return gap + wantedMs;
  };
  const next = (): void => {
    const delayMs = gapMs();
    if (clock.nowMs() + delayMs >= endMs) return;
    clock.after(delayMs, () => {
      ask(drawRequest(mix, random), () => undefined);
      next();
    });
  };
  next();
}

function startClosed(
  { mix, callers, thinkMs }: Extract<LoadPlan, { kind: 'closed' }>,
  endMs: number,
  clock: Clock & Timers,
  random: Random,
  ask: Ask,
): void {
  const turn = (): void => {
    if (clock.nowMs() >= endMs) return;
    const askedMs = clock.nowMs();
    ask(drawRequest(mix, random), () => {
      const think = thinkMs === 0 ? 0 : random.exponential(thinkMs);
      clock.after(clock.nowMs() === askedMs ? Math.max(pauseMs, think) : think, turn);
    });
  };
  for (let caller = 0; caller < callers; caller++) clock.after(random.exponential(Math.max(1, thinkMs)), turn);
}

/** Requests of one instant are asked in one event, as they would be read from the network. */
function startTraced(requests: readonly TracedRequest[], clock: Clock & Timers, ask: Ask): void {
  const startMs = clock.nowMs();
  let index = 0;
  const next = (): void => {
    const first = requests[index];
    if (first === undefined) return;
    clock.after(startMs + first.atMs - clock.nowMs(), () => {
      for (let due = requests[index]; due !== undefined && due.atMs <= first.atMs; due = requests[++index]) {
        const { model, rows, allowedMs } = due;
        const rest = { caller: 'caller', width: leastWidth, priority: 0, cancelAfterMs: Number.POSITIVE_INFINITY };
        ask({ model, rows, allowedMs, ...rest }, () => undefined);
      }
      next();
    });
  };
  next();
}
