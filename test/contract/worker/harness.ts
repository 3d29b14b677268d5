import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pino } from 'pino';
import { systemClock } from '../../../core/clock.js';
import type { Datatype } from '../../../core/datatype.js';
import type { Batch, LinkEvents, LinkSession, ToCoordinator, WorkerEndpoint } from '../../../core/link.js';
import type { VersionStatus } from '../../../core/model.js';
import type { ScatteredTensor, Tensor } from '../../../core/tensor.js';
import { systemTimers } from '../../../platform/timers.js';
import { cpuDevice } from '../../../worker/executor/device.js';
import {
  Executor,
  type ExecutorOptions,
  type ExecutorWork,
  type WorkOutcome,
} from '../../../worker/executor/executor.js';
import type { LoadRequest } from '../../../worker/executor/protocol.js';
import { defaultSlabDir } from '../../../worker/executor/slab.js';
import { resolveSpec } from '../../../worker/repository/resolve-spec.js';
import { scanRepository } from '../../../worker/repository/scan.js';
import { createWorker, type Worker, type WorkerOptions } from '../../../worker/worker.js';
import { eventually } from '../../support/eventually.js';
import { noSettings } from './plan-for.js';

export { planFor } from './plan-for.js';

export const fixtures = path.resolve(import.meta.dirname, '../../fixtures');
export const examples = path.resolve(import.meta.dirname, '../../../examples');

export const quiet = pino({ level: 'silent' });

export const startExecutor = (options: Partial<ExecutorOptions> = {}): Promise<Executor> =>
  Executor.start({
    name: 'test/1 #0',
    slabDir: defaultSlabDir(),
    slots: 2,
    batchTimeoutMs: 30_000,
    loadTimeoutMs: 30_000,
    closeGraceMs: 5_000,
    clock: systemClock,
    timers: systemTimers,
    ...options,
  });

export const loadRequest = (modelPath: string): LoadRequest => ({
  modelPath,
  device: cpuDevice,
  session: noSettings,
  intraOpThreads: 1,
});

export function tensor(name: string, datatype: Datatype, shape: readonly number[], data: Uint8Array): ScatteredTensor {
  return { name, datatype, shape, parts: [data], byteLength: data.length };
}

export function floats(name: string, shape: readonly number[], values: readonly number[]): ScatteredTensor {
  return tensor(name, 'FP32', shape, new Uint8Array(Float32Array.from(values).buffer));
}

export function floatsOf(output: Tensor | undefined): number[] {
  const data = output?.data ?? new Uint8Array();
  return [...new Float32Array(Uint8Array.from(data).buffer)];
}

export const runWork = (executor: Executor, work: Partial<ExecutorWork>): Promise<WorkOutcome> =>
  new Promise((resolve) => {
    executor.run({ inputs: [], outputs: [], budgetUs: Number.POSITIVE_INFINITY, traceparent: '', ...work }, resolve);
  });

export async function outputsOf(executor: Executor, work: Partial<ExecutorWork>): Promise<readonly Tensor[]> {
  const outcome = await runWork(executor, work);
  if (!outcome.ok) throw outcome.error;
  return outcome.outputs;
}

/** Waits until `condition` holds; fails with `what` when it does not within `deadlineMs`. */
export async function until(what: string, condition: () => boolean, deadlineMs = 20_000): Promise<void> {
  await eventually(() => {
    if (!condition()) throw new Error(`waited ${deadlineMs} ms in vain: ${what}`);
  }, deadlineMs);
}

/** Is there such a process, and is it not merely waiting to be reaped? */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

export const startWorker = (options: Partial<WorkerOptions> & { repositories: readonly string[] }): Promise<Worker> =>
  createWorker({
    workerId: 'w1',
    devices: ['cpu'],
    scan: scanRepository,
    resolve: resolveSpec,
    logger: quiet,
    softwareVersion: '0.0.0',
    clock: systemClock,
    timers: systemTimers,
    seed: 7,
    ...options,
  });

/** A coordinator's end of a session that writes everything down. */
export class Listener implements LinkEvents {
  readonly messages: ToCoordinator[] = [];
  readonly versions = new Map<string, VersionStatus>();
  readonly session: LinkSession;
  closedBecause: string | undefined;
  #answers = new Map<number, (answer: ToCoordinator) => void>();
  #lastId = 0;

  constructor(endpoint: WorkerEndpoint) {
    this.session = endpoint.open(this);
    if (this.messages.length > 0) throw new Error('events came before open had returned');
  }

  message(message: ToCoordinator): void {
    this.messages.push(message);
    if (message.kind === 'hello') {
      for (const status of message.versions) this.versions.set(`${status.model}/${status.version}`, status);
    } else if (message.kind === 'version') {
      this.versions.set(`${message.status.model}/${message.status.version}`, message.status);
    } else if (message.kind === 'gone') {
      this.versions.delete(`${message.model}/${message.version}`);
    } else if (message.kind !== 'draining') {
      const id = message.kind === 'result' ? message.result.batchId : message.failure.batchId;
      const answer = this.#answers.get(id);
      if (answer === undefined) throw new Error(`batch ${id} was answered twice, or never asked`);
      this.#answers.delete(id);
      answer(message);
    }
  }

  closed(reason: string): void {
    this.closedBecause = reason;
  }

  /** Sends a batch; the promise is of its one answer. */
  execute(batch: Partial<Batch> & Pick<Batch, 'model' | 'rows' | 'inputs'>): Promise<ToCoordinator> & { id: number } {
    const batchId = ++this.#lastId;
    const answer = new Promise<ToCoordinator>((resolve) => this.#answers.set(batchId, resolve));
    this.session.send({
      kind: 'execute',
      batch: {
        version: '1',
        device: '',
        outputs: [],
        budgetUs: Number.POSITIVE_INFINITY,
        traceparent: '',
        attempt: 1,
        ...batch,
        batchId,
      },
    });
    return Object.assign(answer, { id: batchId });
  }
}
