import type { Timers } from '../../core/clock.js';
import type { Batch, LinkEvents, LinkSession, ToCoordinator, WorkerEndpoint } from '../../core/link.js';
import { type ModelSpec, naturalBatching, type VersionStatus, type WorkerInfo } from '../../core/model.js';

/** FP32 [-1, width] → FP32 [-1, width]; the simulated worker answers y = 2x + 1. */
export function doublingSpec(overrides: Partial<ModelSpec> = {}): ModelSpec {
  return {
    model: 'double',
    version: '1',
    platform: 'onnxruntime_onnx',
    maxBatchSize: 4,
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, -1] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, -1] }],
    batching: naturalBatching,
    buckets: undefined,
    resources: [],
    deviceWeight: 1,
    labels: {},
    ...overrides,
  };
}

export const readyStatus = (spec: ModelSpec, slots = 1): VersionStatus => ({
  model: spec.model,
  version: spec.version,
  state: 'ready',
  reason: '',
  spec,
  slots,
  instances: Array.from({ length: slots }, (_, i) => ({
    id: String(i),
    device: 'cpu',
    state: 'idle' as const,
    reason: '',
    pid: 0,
    restarts: 0,
  })),
  profiles: {},
});

/**
 * A worker in virtual time: `slots` batches at a time, `batchMs` each. Tests reach in to break things.
 * Like the real one it speaks only after `open` has returned.
 */
export class SimulatedWorker implements WorkerEndpoint {
  readonly info: WorkerInfo;
  readonly executed: Batch[] = [];
  readonly cancelled: number[] = [];
  statuses: VersionStatus[];
  batchMs: number;
  /** Called before a batch is answered; what it returns is sent instead. */
  intercept: ((batch: Batch) => ToCoordinator | 'silence' | undefined) | undefined = undefined;
  #events: LinkEvents | undefined;
  readonly #timers: Timers;

  constructor(
    timers: Timers,
    options: { workerId?: string; statuses?: VersionStatus[]; batchMs?: number; depth?: number },
  ) {
    this.#timers = timers;
    this.statuses = options.statuses ?? [readyStatus(doublingSpec())];
    this.batchMs = options.batchMs ?? 10;
    this.info = {
      workerId: options.workerId ?? 'w1',
      devices: ['cpu'],
      softwareVersion: 'test',
      pid: 1,
      host: 'here',
      pipelineDepth: options.depth ?? 0,
    };
  }

  open(events: LinkEvents): LinkSession {
    this.#events = events;
    this.#timers.after(0, () => events.message({ kind: 'hello', worker: this.info, versions: this.statuses }));
    return {
      send: (message) => {
        if (message.kind === 'cancel') {
          this.cancelled.push(message.batchId);
          return;
        }
        this.executed.push(message.batch);
        this.#timers.after(this.batchMs, () => {
          if (this.#events !== events) return;
          const instead = this.intercept?.(message.batch);
          if (instead === 'silence') return;
          events.message(instead ?? { kind: 'result', result: doubled(message.batch) });
        });
      },
      close: () => {
        this.#events = undefined;
      },
    };
  }

  say(message: ToCoordinator): void {
    this.#events?.message(message);
  }

  cut(reason: string): void {
    const events = this.#events;
    this.#events = undefined;
    events?.closed(reason);
  }
}

export function doubled(batch: Batch) {
  const outputs = batch.inputs.map((input) => {
    const bytes = Buffer.concat(input.parts.map((part) => Buffer.from(part)));
    const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const data = new Uint8Array(values.map((value) => 2 * value + 1).buffer);
    return { name: 'y', datatype: input.datatype, shape: input.shape, data };
  });
  const timing = { waitUs: 0, inputUs: 1, executeUs: 10, outputUs: 1 };
  return { batchId: batch.batchId, instance: '0', outputs, timing };
}

export const floats = (...values: number[]): Uint8Array => new Uint8Array(new Float32Array(values).buffer);

export const asFloats = (parts: readonly Uint8Array[]): number[] => {
  const bytes = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return [...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))];
};
