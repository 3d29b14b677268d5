import type { ErrorCode, ShoalError } from './errors.js';
import type { ScatteredTensor, Tensor } from './tensor.js';

/** OIP parameter values. int64 arrives as number when it fits exactly, else bigint. */
export type ParameterValue = boolean | number | bigint | string;
export type Parameters = Readonly<Record<string, ParameterValue>>;

export const noParameters: Parameters = Object.freeze({});

export interface RequestedOutput {
  readonly name: string;
  readonly parameters: Parameters;
}

/** One call, as read from the wire by a front end. Tensor data are slices of the received buffer. */
export interface InferRequest {
  readonly model: string;
  /** Empty: the newest ready version. */
  readonly version: string;
  readonly id: string;
  readonly parameters: Parameters;
  readonly inputs: readonly Tensor[];
  /** Empty: all outputs. */
  readonly outputs: readonly RequestedOutput[];
}

/** What a front end knows of a call besides its message. */
export interface CallContext {
  /** Monotonic instant of arrival. */
  readonly arrivedMs: number;
  /** Absolute monotonic instant; Infinity when the caller set none. */
  readonly deadlineMs: number;
  /** W3C `traceparent` as received; empty when none. */
  readonly traceparent: string;
  /** Who calls, for logs and fairness. */
  readonly caller: string;
}

/** Where the time of one answer went. Durations in microseconds. */
export interface TimingReceipt {
  /** Waiting for a free instance, in the coordinator and on the worker. */
  readonly queueUs: number;
  /** Waiting for company while an instance was free. */
  readonly batchWaitUs: number;
  /** Writing the batch where the executor reads it. */
  readonly inputUs: number;
  /** ONNX Runtime itself. */
  readonly executeUs: number;
  readonly outputUs: number;
  /** Rows that ran together, empty ones not counted. */
  readonly batchRows: number;
  /** Empty rows that ran with them, to fill up a fixed batch size. */
  readonly paddedRows: number;
  readonly version: string;
  readonly worker: string;
  readonly instance: string;
  readonly attempt: number;
}

export interface InferResponse {
  readonly model: string;
  readonly version: string;
  readonly id: string;
  readonly outputs: readonly ScatteredTensor[];
  readonly receipt: TimingReceipt;
}

/** Exactly one of the two, exactly once per call. */
export type InferOutcome =
  | { readonly ok: true; readonly response: InferResponse }
  | { readonly ok: false; readonly error: ShoalError };

/** An error as it crosses a link. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
}
