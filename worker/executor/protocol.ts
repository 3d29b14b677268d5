import { type Datatype, elementBytes } from '../../core/datatype.js';
import type { ErrorCode } from '../../core/errors.js';
import type { ProfilePoint, SequenceBuckets } from '../../core/model.js';
import type { TensorSpec } from '../../core/tensor.js';
import type { SessionSettings, WarmupSample } from '../repository/version-plan.js';
import type { Device } from './device.js';
import { FrameReader, FrameWriter } from './frames.js';

/** Where one tensor lies in a slab. `index` counts the model's inputs (or outputs) in the session's own order. */
export interface Placement {
  readonly index: number;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

export interface LoadRequest {
  readonly modelPath: string;
  readonly device: Device;
  readonly session: SessionSettings;
  /** Threads inside one operator, where the model's own settings do not say. */
  readonly intraOpThreads: number;
}

/** A free dimension is -1 in the shape; `symbols` has its name ('' when nameless, or not free), axis by axis. */
export type ObservedTensor = TensorSpec & { readonly symbols: readonly string[] };

/** What a session says of its model. */
export interface ObservedModel {
  readonly inputs: readonly ObservedTensor[];
  readonly outputs: readonly ObservedTensor[];
}

export interface PrepareRequest {
  /** Batch sizes to run, in this order; empty for a model that does not batch (it is run once, free dimensions 1). */
  readonly rowCounts: readonly number[];
  readonly samples: readonly WarmupSample[];
  /** After this much time no further warm-up run begins. */
  readonly budgetMs: number;
  /** Compare rows run alone and together. Only for models that batch. */
  readonly probeRows: boolean;
  /** Compare a sequence as it is and padded to its bucket. */
  readonly probeBuckets: SequenceBuckets | undefined;
  /** Run each size again, to see what it takes once it is warm. */
  readonly timeRuns: boolean;
}

/**
 * - `independent`: rows run alone and together agree
 * - `dependent`: they clearly do not; `detail` names the output and the difference
 * - `unknown`: could not be tried; `detail` says why
 */
export interface RowProbe {
  readonly verdict: 'independent' | 'dependent' | 'unknown';
  readonly detail: string;
}

/**
 * - `safe`: a sequence as it is and padded agree
 * - `unsafe`: they clearly do not; `detail` names the output and how
 * - `unknown`: could not be tried; `detail` says why
 */
export interface PaddingProbe {
  readonly verdict: 'safe' | 'unsafe' | 'unknown';
  readonly detail: string;
}

export interface PrepareReport {
  readonly warmedRowCounts: readonly number[];
  /** Shortest run of each size after its first; sizes that were too slow to repeat are left out. */
  readonly timings: readonly ProfilePoint[];
  /** Sentences about warm-up runs that failed or were left out. */
  readonly warnings: readonly string[];
  readonly probe: RowProbe;
  /** Undefined when it was not asked for. */
  readonly padding: PaddingProbe | undefined;
}

export interface Execution {
  readonly sequence: number;
  readonly slot: number;
  /** Instant of the machine's monotonic clock in microseconds (`machineNowUs`) past which nobody waits; Infinity: none. */
  readonly expiresAtUs: number;
  readonly traceparent: string;
  /** Bytes to read from the slot's input slab, its header included. */
  readonly inputBytes: number;
  readonly inputs: readonly Placement[];
  /** Indices of the outputs to compute. */
  readonly outputs: readonly number[];
}

/** Durations in microseconds. */
export interface Executed {
  readonly sequence: number;
  readonly readUs: number;
  readonly executeUs: number;
  readonly writeUs: number;
  /** Bytes to read from the slot's output slab. */
  readonly outputBytes: number;
  readonly outputs: readonly Placement[];
}

/** Worker → executor. The executor answers each in turn. */
export type ToExecutor =
  | { readonly kind: 'load'; readonly request: LoadRequest }
  | { readonly kind: 'prepare'; readonly request: PrepareRequest }
  /** Make a session of a built-in model on the device and run it: is the execution provider there? */
  | { readonly kind: 'check'; readonly device: Device }
  | { readonly kind: 'execute'; readonly execution: Execution }
  | { readonly kind: 'close' };

/** Executor → worker. */
export type FromExecutor =
  | { readonly kind: 'loaded'; readonly observed: ObservedModel }
  | { readonly kind: 'prepared'; readonly report: PrepareReport }
  | { readonly kind: 'checked' }
  /** The answer to `load`, `prepare` or `check` when it went wrong. */
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: 'executed'; readonly executed: Executed }
  /** The batch was not computed; the executor is well. */
  | { readonly kind: 'refused'; readonly sequence: number; readonly code: ErrorCode; readonly message: string };

const datatypes = Object.keys(elementBytes) as Datatype[];
const datatypeCode = new Map(datatypes.map((datatype, code) => [datatype, code]));

// Hot messages have a hand-written form; the rare ones are JSON.
const rareKind = 0;
const executeKind = 1;
const executedKind = 2;

function writePlacements(writer: FrameWriter, placements: readonly Placement[]): void {
  writer.u32(placements.length);
  for (const { index, datatype, shape, offset, byteLength } of placements) {
    writer
      .u32(index)
      .u8(datatypeCode.get(datatype) ?? 255)
      .u8(shape.length);
    for (const dim of shape) writer.f64(dim);
    writer.f64(offset).f64(byteLength);
  }
}

function readPlacements(reader: FrameReader): Placement[] {
  const count = reader.u32();
  const placements: Placement[] = [];
  for (let i = 0; i < count; i++) {
    const index = reader.u32();
    const code = reader.u8();
    const datatype = datatypes[code];
    if (datatype === undefined) throw new Error(`datatype code ${code} on the control pipe`);
    const rank = reader.u8();
    const shape: number[] = [];
    for (let d = 0; d < rank; d++) shape.push(reader.f64());
    placements.push({ index, datatype, shape, offset: reader.f64(), byteLength: reader.f64() });
  }
  return placements;
}

const writer = new FrameWriter();

const encodeRare = (message: unknown): Buffer => writer.begin(rareKind).text(JSON.stringify(message)).finish();

export function encodeToExecutor(message: ToExecutor): Buffer {
  if (message.kind !== 'execute') return encodeRare(message);
  const { sequence, slot, expiresAtUs, traceparent, inputBytes, inputs, outputs } = message.execution;
  writer.begin(executeKind).u32(sequence).u32(slot).f64(expiresAtUs).text(traceparent).f64(inputBytes);
  writePlacements(writer, inputs);
  writer.u32(outputs.length);
  for (const index of outputs) writer.u32(index);
  return writer.finish();
}

export function decodeToExecutor(body: Buffer): ToExecutor {
  const reader = new FrameReader(body);
  if (reader.u8() !== executeKind) return JSON.parse(reader.text()) as ToExecutor;
  const sequence = reader.u32();
  const slot = reader.u32();
  const expiresAtUs = reader.f64();
  const traceparent = reader.text();
  const inputBytes = reader.f64();
  const inputs = readPlacements(reader);
  const outputs: number[] = [];
  for (let left = reader.u32(); left > 0; left--) outputs.push(reader.u32());
  return { kind: 'execute', execution: { sequence, slot, expiresAtUs, traceparent, inputBytes, inputs, outputs } };
}

export function encodeFromExecutor(message: FromExecutor): Buffer {
  if (message.kind !== 'executed') return encodeRare(message);
  const { sequence, readUs, executeUs, writeUs, outputBytes, outputs } = message.executed;
  writer.begin(executedKind).u32(sequence).f64(readUs).f64(executeUs).f64(writeUs).f64(outputBytes);
  writePlacements(writer, outputs);
  return writer.finish();
}

export function decodeFromExecutor(body: Buffer): FromExecutor {
  const reader = new FrameReader(body);
  if (reader.u8() !== executedKind) return JSON.parse(reader.text()) as FromExecutor;
  const sequence = reader.u32();
  const readUs = reader.f64();
  const executeUs = reader.f64();
  const writeUs = reader.f64();
  const outputBytes = reader.f64();
  return {
    kind: 'executed',
    executed: { sequence, readUs, executeUs, writeUs, outputBytes, outputs: readPlacements(reader) },
  };
}
