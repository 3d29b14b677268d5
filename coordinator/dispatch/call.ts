import { ShoalError } from '../../core/errors.js';
import type { CallContext, InferOutcome, InferRequest, TimingReceipt } from '../../core/inference.js';
import type { ModelSpec } from '../../core/model.js';
import { type ScatteredTensor, shapeText, skipBytesElements, type Tensor } from '../../core/tensor.js';
import type { RequestSpan, Traced } from '../../platform/telemetry/tracing.js';
import type { AdmittedInputs } from '../admission/check-request.js';
import type { QueueTerms } from '../admission/queue-terms.js';
import { Piece } from '../scheduling/piece.js';

/** Some rows of one call, as they wait and travel: all of them unless the call was split. */
export class CallPiece extends Piece implements Traced {
  readonly call: Call;
  readonly firstRow: number;
  readonly rows: number;
  shapeKey: string;
  readonly deadlineMs: number;
  override readonly caller: string;
  override readonly level: number;
  override readonly patienceMs: number;
  override readonly yields: boolean;
  /** The batch it travels in; 0 while it waits. */
  batchId = 0;
  /** How often a worker sent it back without having tried. */
  refusals = 0;
  /** The rows' input bytes, one entry per input of the signature. */
  readonly inputs: readonly Uint8Array[];
  /** This piece's share of the outputs, once it was executed. */
  outputs: readonly Tensor[] | undefined = undefined;

  constructor(call: Call, firstRow: number, rows: number, inputs: readonly Uint8Array[]) {
    super();
    this.call = call;
    this.firstRow = firstRow;
    this.rows = rows;
    this.inputs = inputs;
    this.shapeKey = call.admitted.shapeKey;
    this.deadlineMs = call.deadlineMs;
    this.caller = call.context.caller;
    this.level = call.terms.level;
    this.patienceMs = call.terms.patienceMs;
    this.yields = call.terms.yields;
  }

  get traceparent(): string {
    return this.call.context.traceparent;
  }

  get span(): RequestSpan | undefined {
    return this.call.span;
  }
}

/** One accepted request until its one answer. */
export class Call {
  readonly spec: ModelSpec;
  readonly laneKey: string;
  readonly admitted: AdmittedInputs;
  readonly context: CallContext;
  readonly deadlineMs: number;
  readonly terms: QueueTerms;
  readonly id: string;
  readonly span: RequestSpan | undefined;
  readonly pieces: readonly CallPiece[];
  #reply: ((outcome: InferOutcome) => void) | undefined;
  #missing: number;

  constructor(options: {
    spec: ModelSpec;
    laneKey: string;
    request: InferRequest;
    admitted: AdmittedInputs;
    context: CallContext;
    deadlineMs: number;
    terms: QueueTerms;
    span: RequestSpan | undefined;
    reply: (outcome: InferOutcome) => void;
  }) {
    this.spec = options.spec;
    this.laneKey = options.laneKey;
    this.admitted = options.admitted;
    this.context = options.context;
    this.deadlineMs = options.deadlineMs;
    this.terms = options.terms;
    this.id = options.request.id;
    this.span = options.span;
    this.#reply = options.reply;
    this.pieces = cut(this);
    this.#missing = this.pieces.length;
  }

  /** Answered, failed or given up: nothing more is owed. */
  get settled(): boolean {
    return this.#reply === undefined;
  }

  /** Takes one piece's outputs; answers when it was the last. Returns true when the call is now answered. */
  deliver(piece: CallPiece, outputs: readonly Tensor[], receipt: TimingReceipt): boolean {
    if (this.#reply === undefined) return false;
    piece.outputs = outputs;
    if (--this.#missing > 0) return false;
    const reply = this.#reply;
    this.#reply = undefined;
    const { model, version } = this.spec;
    const joined = this.pieces.length === 1 ? this.#whole(outputs) : this.#join();
    reply({ ok: true, response: { model, version, id: this.id, outputs: joined, receipt } });
    return true;
  }

  /** Why the pieces delivered so far cannot be joined with `outputs`; undefined when they can. */
  misfit(outputs: readonly Tensor[]): ShoalError | undefined {
    const first = this.pieces.find((piece) => piece.outputs !== undefined)?.outputs ?? [];
    for (const { name, shape } of first) {
      const other = outputs.find((output) => output.name === name)?.shape ?? [];
      if (shape.length === other.length && shape.every((dim, d) => d === 0 || dim === other[d])) continue;
      return new ShoalError(
        'EXECUTION_FAILED',
        `Output '${name}' of model '${this.spec.model}' has shape ${shapeText(shape)} for one part of the request and ${shapeText(other)} for another: with at most ${this.spec.maxBatchSize} rows a batch they cannot be joined; send fewer rows.`,
      );
    }
    return undefined;
  }

  /** Returns false when the call had its answer already. */
  fail(error: ShoalError): boolean {
    if (this.#reply === undefined) return false;
    const reply = this.#reply;
    this.#reply = undefined;
    reply({ ok: false, error });
    return true;
  }

  #whole(outputs: readonly Tensor[]): ScatteredTensor[] {
    return this.admitted.outputs.map((name) => {
      const { datatype, shape, data } = named(outputs, name);
      return { name, datatype, shape, parts: [data], byteLength: data.length };
    });
  }

  #join(): ScatteredTensor[] {
    return this.admitted.outputs.map((name) => {
      const shares = this.pieces.map((piece) => named(piece.outputs ?? [], name));
      const { datatype, shape } = shares[0] as Tensor;
      const parts = shares.map((share) => share.data);
      const byteLength = parts.reduce((sum, part) => sum + part.length, 0);
      return { name, datatype, shape: [this.admitted.rows, ...shape.slice(1)], parts, byteLength };
    });
  }
}

function named(outputs: readonly Tensor[], name: string): Tensor {
  for (const output of outputs) if (output.name === name) return output;
  throw new Error(`invariant broken: splitResult has checked that output ${name} is there`);
}

/** A call with more rows than a batch may hold is cut into pieces of at most `maxBatchSize`, in order. */
function cut(call: Call): CallPiece[] {
  const { rows, inputs } = call.admitted;
  const limit = call.spec.maxBatchSize;
  const whole = inputs.map((input) => input.data);
  if (limit === 0 || rows <= limit) return [new CallPiece(call, 0, rows, whole)];
  const cursors = inputs.map(() => 0);
  const pieces: CallPiece[] = [];
  for (let first = 0; first < rows; first += limit) {
    const count = Math.min(limit, rows - first);
    const share = inputs.map((input, i) => {
      const from = cursors[i] ?? 0;
      const to = endOfRows(input, from, count, rows);
      cursors[i] = to;
      return input.data.subarray(from, to);
    });
    pieces.push(new CallPiece(call, first, count, share));
  }
  return pieces;
}

/**
 * Where `count` rows that start at byte `from` end, in a tensor of `rows` rows.
 * -1 when the tensor's BYTES elements end too early.
 */
export function endOfRows(tensor: Tensor, from: number, count: number, rows: number): number {
  if (tensor.datatype !== 'BYTES') return from + (tensor.data.length / rows) * count;
  let perRow = 1;
  for (let d = 1; d < tensor.shape.length; d++) perRow *= tensor.shape[d] as number;
  return skipBytesElements(tensor.data, from, perRow * count);
}
