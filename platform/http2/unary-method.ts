import type { Trailer } from './grpc-headers.js';

/** One unary call whose request has come whole. */
export interface UnaryCall {
  /**
   * The serialised request, for the method to take while it runs: empty after it has returned. It may be a part of a
   * larger buffer, which lives as long as it.
   */
  readonly message: Buffer;
  /** The last value of a header, by its lower-case name. `-bin` values are still base64. */
  header(name: string): string | undefined;
  /** `address:port` of the caller. */
  readonly peer: string;
  /** What is left of the caller's `grpc-timeout`; negative when it is over, infinite when none was given. */
  readonly timeoutMs: number;
}

export interface UnaryAnswer {
  /** The serialised response, in order. Large pieces are not copied: none may change after it was handed over. */
  readonly body: readonly Uint8Array[];
  readonly trailers?: readonly Trailer[];
}

export interface UnaryFailure {
  /** A gRPC status code, not 0. */
  readonly status: number;
  readonly message: string;
  readonly trailers?: readonly Trailer[];
}

/** Takes one answer; any further one, and one for a call that is gone, goes nowhere. */
export interface UnaryReply {
  answer(answer: UnaryAnswer): void;
  fail(failure: UnaryFailure): void;
}

export type CancelCall = () => void;

/** Answers now or later. What it returns is called once if the caller gives up before the reply. */
export type UnaryMethod = (call: UnaryCall, reply: UnaryReply) => CancelCall | undefined;
