import { type Clock, systemClock, type Timers } from '../core/clock.js';
import { ShoalError } from '../core/errors.js';
import { ExitCode } from './failure.js';
import type { RunningService } from './running-cluster.js';

export interface SignalSource {
  on(signal: 'SIGINT' | 'SIGTERM', listener: () => void): unknown;
  removeListener(signal: 'SIGINT' | 'SIGTERM', listener: () => void): unknown;
}

export interface Surroundings {
  readonly signals: SignalSource;
  readonly clock: Clock;
  readonly timers: Timers;
  print(text: string): void;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** How long the banner waits for models; a slow one is then shown as it stands. */
export const bannerPatienceMs = 10_000;

/**
 * One Ctrl-C can arrive twice: from the terminal, and from an npm that forwards it. What follows the first
 * signal this soon is the same key.
 */
const sameKeyMs = 300;

export const realSurroundings: Surroundings = {
  signals: process,
  clock: systemClock,
  timers: {
    after(delayMs, fire) {
      const timer = setTimeout(fire, delayMs);
      timer.unref();
      return () => clearTimeout(timer);
    },
  },
  print: (text) => process.stdout.write(`${text}\n`),
  exit: (code) => process.exit(code),
};

/**
 * Runs a service from start to drained: prints its banner when it is ready (or has been starting for 10 s), drains at
 * SIGINT or SIGTERM, exits at once at the second. A signal that comes while it starts drains it once it has started.
 * Resolves when drained. Rejects when it cannot start or go on.
 */
export async function supervise<Service extends RunningService>(
  start: () => Promise<Service>,
  banner: (service: Service, isReady: boolean) => string,
  graceMs: number,
  around: Surroundings = realSurroundings,
): Promise<void> {
  let firstMs: number | undefined;
  let stop: () => void = () => undefined;
  const stopped = new Promise<'stop'>((resolve) => {
    stop = () => resolve('stop');
  });
  const onSignal = (code: number) => () => {
    const nowMs = around.clock.nowMs();
    if (firstMs === undefined) {
      firstMs = nowMs;
      around.print(
        `\nDraining: finishing what was accepted, for ${graceMs / 1000} s at most. Ctrl-C again stops at once.`,
      );
      stop();
    } else if (nowMs - firstMs > sameKeyMs) {
      around.exit(code);
    }
  };
  const interrupt = onSignal(ExitCode.INTERRUPTED);
  const terminate = onSignal(143);
  around.signals.on('SIGINT', interrupt);
  around.signals.on('SIGTERM', terminate);
  try {
    const service = await start();
    const failure = await serve(service, banner, stopped, around);
    await service.drain(graceMs);
    if (failure !== undefined) throw failure;
    around.print('Drained.');
  } finally {
    around.signals.removeListener('SIGINT', interrupt);
    around.signals.removeListener('SIGTERM', terminate);
  }
}

/** Until stopped (undefined) or failed (why). */
async function serve<Service extends RunningService>(
  service: Service,
  banner: (service: Service, isReady: boolean) => string,
  stopped: Promise<'stop'>,
  around: Surroundings,
): Promise<ShoalError | undefined> {
  let cancel: () => void = () => undefined;
  const patience = new Promise<'slow'>((resolve) => {
    cancel = around.timers.after(bannerPatienceMs, () => resolve('slow'));
  });
  const ready = service.ready.then(
    () => 'ready' as const,
    (thrown: unknown) => ShoalError.from(thrown),
  );
  const first = await Promise.race([ready, patience, stopped]);
  cancel();
  if (first === 'stop') return undefined;
  if (first instanceof ShoalError) return first;
  around.print(banner(service, first === 'ready'));
  const second = first === 'ready' ? 'ready' : await Promise.race([ready, stopped]);
  if (second === 'stop') return undefined;
  if (second instanceof ShoalError) return second;
  if (first === 'slow') around.print('All models have settled; `shoal models` shows them.');
  await stopped;
  return undefined;
}
