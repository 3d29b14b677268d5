import { EventEmitter } from 'node:events';
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../core/clock.js';
import { ShoalError } from '../../../core/errors.js';
import type { RunningService } from '../../../ops/running-cluster.js';
import { type Surroundings, supervise } from '../../../ops/supervise.js';

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

function deferred<T>(): Deferred<T> {
  let settle: Omit<Deferred<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  if (settle === undefined) throw new Error('a promise runs its executor at once');
  return { promise, ...settle };
}

/** A service whose moments the test decides, with everything around it recorded. */
function scene() {
  const time = new VirtualClock();
  const signals = new EventEmitter();
  const printed: string[] = [];
  const exits: number[] = [];
  const started = deferred<RunningService>();
  const ready = deferred<void>();
  const drained = deferred<void>();
  const drains: number[] = [];
  const service: RunningService = {
    models: () => [],
    ready: ready.promise,
    drain: (graceMs) => {
      drains.push(graceMs);
      return drained.promise;
    },
  };
  const around: Surroundings = {
    signals,
    clock: time,
    timers: time,
    print: (text) => printed.push(text.trim()),
    exit: (code) => exits.push(code),
  };
  const banner = (_: RunningService, isReady: boolean): string => (isReady ? 'banner: ready' : 'banner: so far');
  const ended = supervise(() => started.promise, banner, 5_000, around);
  ended.catch(() => undefined);
  return { time, signals, printed, exits, started, ready, drained, drains, service, ended };
}

/** Lets everything that is already decided happen. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const draining = 'Draining: finishing what was accepted, for 5 s at most. Ctrl-C again stops at once.';

describe('a service from start to drained', () => {
  test.each(['SIGINT', 'SIGTERM'])('ready, banner, %s, drained, nothing left listening', async (signal) => {
    const { started, service, ready, signals, printed, drains, drained, ended, exits } = scene();
    started.resolve(service);
    ready.resolve();
    await settle();
    expect(printed).toEqual(['banner: ready']);
    signals.emit(signal);
    await settle();
    expect(drains).toEqual([5_000]);
    drained.resolve();
    await ended;
    expect(printed).toEqual(['banner: ready', draining, 'Drained.']);
    expect(exits).toEqual([]);
    expect(signals.eventNames()).toEqual([]);
  });

  test('a second Ctrl-C exits at once; the same key arriving twice does not', async () => {
    const { time, started, service, signals, exits } = scene();
    started.resolve(service);
    await settle();
    signals.emit('SIGINT');
    time.advance(5);
    signals.emit('SIGINT');
    expect(exits).toEqual([]);
    time.advance(1_000);
    signals.emit('SIGINT');
    expect(exits).toEqual([130]);
    signals.emit('SIGTERM');
    expect(exits).toEqual([130, 143]);
  });

  test('a slow start is shown after ten seconds as it stands, and again when it is over', async () => {
    const { time, started, service, ready, printed } = scene();
    started.resolve(service);
    await settle();
    time.advance(9_999);
    await settle();
    expect(printed).toEqual([]);
    time.advance(1);
    await settle();
    expect(printed).toEqual(['banner: so far']);
    ready.resolve();
    await settle();
    expect(printed.at(-1)).toBe('All models have settled; `shoal models` shows them.');
  });

  test('Ctrl-C while it starts drains it once it has started', async () => {
    const { started, service, signals, drains, drained, ended, printed } = scene();
    signals.emit('SIGINT');
    await settle();
    expect(drains).toEqual([]);
    started.resolve(service);
    drained.resolve();
    await ended;
    expect(drains).toEqual([5_000]);
    expect(printed).toEqual([draining, 'Drained.']);
  });

  test('what cannot start rejects; what cannot go on is drained first', async () => {
    const first = scene();
    first.started.reject(new ShoalError('BAD_SETTING', 'The port is taken.'));
    await expect(first.ended).rejects.toThrow('The port is taken.');
    expect(first.signals.eventNames()).toEqual([]);

    const second = scene();
    second.started.resolve(second.service);
    second.ready.reject(new ShoalError('PROVIDER_MISSING', 'No CUDA here.'));
    second.drained.resolve();
    await expect(second.ended).rejects.toThrow('No CUDA here.');
    expect(second.drains).toEqual([5_000]);
  });
});
