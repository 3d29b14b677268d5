import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../core/clock.js';
import { ShoalError } from '../../../core/errors.js';
import type { Batch } from '../../../core/link.js';
import { seededRandom } from '../../../core/random.js';
import type { ExecutorWork, WorkOutcome } from '../../../worker/executor/executor.js';
import { type BatchReply, InstancePool, type PoolExecutor, type PoolOptions } from '../../../worker/instance-pool.js';

interface Held {
  readonly ticket: number;
  readonly work: ExecutorWork;
  readonly done: (outcome: WorkOutcome) => void;
  cancelled: boolean;
}

const good: WorkOutcome = { ok: true, outputs: [], inputUs: 0, executeUs: 0, outputUs: 0 };

/** An executor that does what the test tells it, in the manner of the real one. */
class ScriptedExecutor implements PoolExecutor {
  static next = 1;
  readonly pid = ScriptedExecutor.next++;
  readonly held: Held[] = [];
  readonly ran: number[] = [];
  readonly exited: Promise<ShoalError | undefined>;
  #exit: (error: ShoalError | undefined) => void = () => undefined;
  #gone = false;
  #ticket = 0;
  readonly #clock: VirtualClock;
  headSinceMs = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
    this.exited = new Promise((resolve) => {
      this.#exit = resolve;
    });
  }

  get freeSlots(): number {
    return this.#gone ? 0 : 2 - this.held.length;
  }

  get pendingCount(): number {
    return this.held.length;
  }

  run(work: ExecutorWork, done: (outcome: WorkOutcome) => void): number {
    if (this.freeSlots <= 0) throw new Error('given more than it can take');
    if (this.held.length === 0) this.headSinceMs = this.#clock.nowMs();
    const ticket = ++this.#ticket;
    this.held.push({ ticket, work, done, cancelled: false });
    return ticket;
  }

  cancel(ticket: number): void {
    const held = this.held.find((entry) => entry.ticket === ticket);
    if (held !== undefined) held.cancelled = true;
  }

  /** Finishes the batch at the head. */
  finish(outcome: WorkOutcome = good): void {
    const held = this.held.shift();
    this.headSinceMs = this.#clock.nowMs();
    held?.done(outcome);
  }

  crash(): void {
    const error = new ShoalError('EXECUTOR_CRASHED', `Executor ${this.pid} died.`);
    this.#gone = true;
    for (const [place, { done }] of this.held.splice(0).entries()) done({ ok: false, error, reached: place === 0 });
    this.#exit(error);
  }

  kill(): void {
    this.crash();
  }

  async close(): Promise<void> {
    this.#gone = true;
    for (const { done } of this.held.splice(0)) done(good);
    this.#exit(undefined);
  }
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

function setUp(devices: number | readonly string[], options: Partial<PoolOptions> = {}) {
  const clock = new VirtualClock();
  const executors: ScriptedExecutor[] = [];
  const slots: number[] = [];
  const pool: InstancePool = new InstancePool({
    instances: (typeof devices === 'number' ? Array<string>(devices).fill('cpu') : devices).map((device, i) => ({
      id: `#${i}`,
      device,
    })),
    launch: async () => {
      const executor = new ScriptedExecutor(clock);
      executors.push(executor);
      return executor;
    },
    restart: { baseDelayMs: 100, maxDelayMs: 1_000, crashLimit: 3, crashWindowMs: 60_000 },
    clock,
    timers: clock,
    random: seededRandom(1),
    changed: () => {
      if (slots.at(-1) !== pool.slots) slots.push(pool.slots);
    },
    crashed: () => undefined,
    ...options,
  });
  const replies = new Map<number, BatchReply>();
  const submit = (batchId: number, budgetUs = Number.POSITIVE_INFINITY, device = '') => {
    let returned = false;
    const batch: Batch = {
      batchId,
      model: 'm',
      version: '1',
      device,
      rows: 1,
      inputs: [],
      outputs: [],
      budgetUs,
      traceparent: '',
      attempt: 1,
    };
    const cancel = pool.submit(batch, (reply) => {
      if (!returned) throw new Error('answered before submit returned');
      if (replies.has(batchId)) throw new Error(`batch ${batchId} answered twice`);
      replies.set(batchId, reply);
    });
    returned = true;
    return cancel;
  };
  const codeOf = (batchId: number) => {
    const reply = replies.get(batchId);
    return reply?.kind === 'failure' ? reply.failure.error.code : reply?.kind;
  };
  return { clock, executors, slots, pool, replies, submit, codeOf };
}

describe('a pool of instances', () => {
  it('prefers idle instances, then the one that will be free first, then the queue', async () => {
    const { clock, executors, pool, submit } = setUp(2);
    await pool.start();
    submit(1);
    clock.advance(5);
    submit(2);
    submit(3);
    submit(4);
    submit(5);
    expect(executors.map(({ held }) => held.length)).toEqual([2, 2]);
    executors[1]?.finish();
    expect(executors.map(({ held }) => held.length)).toEqual([2, 2]);
    executors[1]?.finish();
    executors[1]?.finish();
    expect(executors.map(({ held }) => held.length)).toEqual([2, 0]);
  });

  it('runs a batch only on the device it names, and lets it hold up none that may go elsewhere', async () => {
    const { executors, pool, submit, codeOf } = setUp(['cpu', 'cuda:0', 'cuda:1']);
    await pool.start();
    const on = (batchId: number, device: string) => submit(batchId, Number.POSITIVE_INFINITY, device);
    const held = () => executors.map((executor) => executor.held.length);
    for (const id of [1, 2, 3]) on(id, 'cuda:1');
    expect(held()).toEqual([0, 0, 2]);
    on(4, 'cuda:0');
    on(5, '');
    expect(held()).toEqual([1, 1, 2]);
    executors[2]?.finish();
    expect(held()).toEqual([1, 1, 2]);
    for (const executor of executors) while (executor.held.length > 0) executor.finish();
    expect([1, 2, 3, 4, 5].map(codeOf)).toEqual(Array(5).fill('result'));
    expect([pool.instancesOn(''), pool.instancesOn('cuda:1'), pool.instancesOn('cuda:7')]).toEqual([3, 1, 0]);
  });

  it('refuses what names a device it has no instance on, or none that is up', async () => {
    const { executors, pool, submit, codeOf, replies } = setUp(['cpu', 'cuda:0']);
    await pool.start();
    const on = (batchId: number, device: string) => submit(batchId, Number.POSITIVE_INFINITY, device);
    on(1, 'cuda:7');
    await settle();
    expect(replies.get(1)).toMatchObject({
      failure: {
        retryable: true,
        error: {
          code: 'MODEL_NOT_READY',
          message: 'There is no instance on the device cuda:7; its devices: cpu, cuda:0.',
        },
      },
    });
    for (const id of [2, 3, 4]) on(id, 'cuda:0');
    on(5, 'cpu');
    executors[1]?.crash();
    await settle();
    // The first went down with the executor, the others have nowhere to wait; what may run elsewhere is untouched.
    expect(codeOf(2)).toBe('EXECUTOR_CRASHED');
    expect([3, 4].map(codeOf)).toEqual(['MODEL_NOT_READY', 'MODEL_NOT_READY']);
    expect(executors[0]?.held).toHaveLength(1);
    on(6, 'cuda:0');
    await settle();
    expect(replies.get(6)).toMatchObject({
      failure: { error: { message: expect.stringContaining('No instance is up on the device cuda:0. Executor') } },
    });
  });

  it('fails a batch whose budget ran out in the queue without running it', async () => {
    const { clock, executors, pool, submit, codeOf } = setUp(1);
    await pool.start();
    submit(1);
    submit(2);
    submit(3, 10_000);
    clock.advance(11);
    executors[0]?.finish();
    await settle();
    expect(codeOf(3)).toBe('DEADLINE_EXPIRED');
    expect(executors[0]?.held).toHaveLength(1);
  });

  it('hands the executor what is left of the budget', async () => {
    const { clock, executors, pool, submit } = setUp(1);
    await pool.start();
    submit(1);
    submit(2);
    submit(3, 50_000);
    clock.advance(20);
    executors[0]?.finish();
    expect(executors[0]?.held[1]?.work.budgetUs).toBeCloseTo(30_000);
  });

  it('removes a waiting batch that is given up, and flags one already laid out', async () => {
    const { executors, pool, submit, codeOf } = setUp(1);
    await pool.start();
    submit(1);
    const laidOut = submit(2);
    const waiting = submit(3);
    waiting();
    laidOut();
    await settle();
    expect(codeOf(3)).toBe('CANCELLED');
    expect(executors[0]?.held.map(({ cancelled }) => cancelled)).toEqual([false, true]);
    waiting();
    await settle();
  });

  it('announces fewer slots after a crash and more after the restart, which waits longer each time', async () => {
    const { clock, executors, pool, slots, submit, codeOf } = setUp(2);
    await pool.start();
    expect(slots).toEqual([0, 1, 2]);
    submit(1);
    executors[0]?.crash();
    await settle();
    expect(codeOf(1)).toBe('EXECUTOR_CRASHED');
    expect(slots).toEqual([0, 1, 2, 1]);
    expect(pool.statuses()).toMatchObject([{ state: 'backoff', restarts: 0, pid: 0 }, { state: 'idle' }]);
    clock.advance(100);
    await settle();
    expect(slots).toEqual([0, 1, 2, 1, 2]);
    expect(pool.statuses()).toMatchObject([{ state: 'idle', restarts: 1, reason: '' }, { state: 'idle' }]);
  });

  it('is quarantined after crashes in a row, but not when good batches lie between', async () => {
    const { clock, executors, pool, submit, codeOf } = setUp(1);
    await pool.start();
    const crash = async () => {
      executors.at(-1)?.crash();
      await settle();
      clock.advance(1_000);
      await settle();
    };
    for (let i = 0; i < 5; i++) {
      await crash();
      submit(i);
      executors.at(-1)?.finish();
      expect(codeOf(i)).toBe('result');
    }
    expect(pool.quarantineReason).toBe('');
    for (let i = 0; i < 3; i++) await crash();
    expect(pool.quarantineReason).toMatch(/crashed 3 times within 60 s .* Executor \d+ died\./);
    expect(pool.slots).toBe(0);
    submit(99);
    await settle();
    expect(codeOf(99)).toBe('MODEL_NOT_READY');
    clock.advance(1_000_000);
    await settle();
    expect(pool.statuses()).toMatchObject([{ state: 'stopped' }]);
  });

  it('counts a failed restart as a crash, and throws only what no retry can mend at first', async () => {
    const refused = setUp(1, {
      launch: async () => {
        throw new ShoalError('MODEL_UNLOADABLE', 'Not a model.');
      },
    });
    await expect(refused.pool.start()).rejects.toThrow('Not a model.');
    let tries = 0;
    const unlucky = setUp(1, {
      launch: async () => {
        tries++;
        throw new ShoalError('EXECUTOR_CRASHED', 'Died while loading.');
      },
    });
    await unlucky.pool.start();
    for (let i = 0; i < 5; i++) {
      unlucky.clock.advance(1_000);
      await settle();
    }
    expect(tries).toBe(3);
    expect(unlucky.pool.quarantineReason).toMatch(/Died while loading/);
  });

  it('answers every batch exactly once, whatever happens in whatever order', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('submit' as const), budgetMs: fc.integer({ min: 1, max: 400 }) }),
      fc.record({ do: fc.constantFrom('finish', 'crash', 'refuse', 'cancel' as const), which: fc.nat(20) }),
      fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 300 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 3 }), async (steps, instances) => {
        const { clock, executors, pool, replies, submit } = setUp(instances, {
          restart: { baseDelayMs: 50, maxDelayMs: 200, crashLimit: 8, crashWindowMs: 5_000 },
        });
        await pool.start();
        const cancels: (() => void)[] = [];
        for (const action of steps) {
          if (action.do === 'submit') cancels.push(submit(cancels.length, action.budgetMs * 1_000));
          else if (action.do === 'advance') clock.advance(action.ms);
          else if (action.do === 'cancel') cancels[action.which % Math.max(1, cancels.length)]?.();
          else {
            const executor = executors[action.which % executors.length];
            const error = new ShoalError('EXECUTION_FAILED', 'No.');
            if (action.do === 'crash') executor?.crash();
            else executor?.finish(action.do === 'finish' ? good : { ok: false, error, reached: true });
          }
          await settle();
        }
        await pool.close(new ShoalError('DRAINING', 'Over.'));
        await settle();
        expect([...replies.keys()].sort((a, b) => a - b)).toEqual(cancels.map((_, id) => id));
        await pool.idle();
      }),
      { numRuns: 300 },
    );
  });
});
