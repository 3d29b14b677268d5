/** gRPC status codes by number (https://grpc.io/docs/guides/status-codes/). */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

interface ErrorKind {
  readonly grpc: number;
  readonly http: number;
  /** May the same call succeed later or elsewhere without being changed? */
  readonly retryable: boolean;
  /** What the reader of the message should do. */
  readonly advice: string;
}

const {
  INVALID_ARGUMENT,
  DEADLINE_EXCEEDED,
  NOT_FOUND,
  RESOURCE_EXHAUSTED,
  UNAVAILABLE,
  INTERNAL,
  FAILED_PRECONDITION,
  UNIMPLEMENTED,
} = GrpcStatus;

/** Every failure a caller or operator can meet. `docs/ERRORS.md` lists the same names; a test compares the two. */
export const errorKinds = {
  MODEL_NOT_FOUND: {
    grpc: NOT_FOUND,
    http: 404,
    retryable: false,
    advice: 'List the served models with `shoal models`.',
  },
  VERSION_NOT_FOUND: {
    grpc: NOT_FOUND,
    http: 404,
    retryable: false,
    advice: 'Leave the version out to use the newest ready one.',
  },
  MODEL_NOT_READY: {
    grpc: UNAVAILABLE,
    http: 503,
    retryable: true,
    advice: '`shoal models` shows the state of each version and why.',
  },
  INVALID_REQUEST: {
    grpc: INVALID_ARGUMENT,
    http: 400,
    retryable: false,
    advice: "Compare the request with the model's metadata.",
  },
  REQUEST_TOO_LARGE: {
    grpc: RESOURCE_EXHAUSTED,
    http: 413,
    retryable: false,
    advice: 'Send fewer rows per request, or raise `--max-message-bytes`.',
  },
  QUEUE_FULL: { grpc: RESOURCE_EXHAUSTED, http: 429, retryable: true, advice: 'Retry after a pause, or add workers.' },
  DEADLINE_EXPIRED: {
    grpc: DEADLINE_EXCEEDED,
    http: 504,
    retryable: false,
    advice: 'Allow more time, or add workers.',
  },
  DEADLINE_INFEASIBLE: {
    grpc: DEADLINE_EXCEEDED,
    http: 504,
    retryable: true,
    advice: 'Allow more time, retry after the given pause, or add workers.',
  },
  QUEUE_TIMEOUT: {
    grpc: UNAVAILABLE,
    http: 503,
    retryable: true,
    advice: "Retry later, raise the queue policy's timeout in config.pbtxt, or add workers.",
  },
  CANCELLED: { grpc: GrpcStatus.CANCELLED, http: 499, retryable: false, advice: 'The caller gave the request up.' },
  NO_WORKER: {
    grpc: UNAVAILABLE,
    http: 503,
    retryable: true,
    advice: '`shoal workers` shows which workers are connected.',
  },
  WORKER_LOST: {
    grpc: UNAVAILABLE,
    http: 503,
    retryable: true,
    advice: 'Retry; `shoal workers` shows which workers are connected.',
  },
  COORDINATOR_UNREACHABLE: {
    grpc: UNAVAILABLE,
    http: 503,
    retryable: true,
    advice: 'Check the address, and that `shoal up` or `shoal coordinator` is running there.',
  },
  DRAINING: { grpc: UNAVAILABLE, http: 503, retryable: true, advice: 'Retry on another coordinator.' },
  EXECUTOR_CRASHED: {
    grpc: UNAVAILABLE,
    http: 503,
    retryable: true,
    advice: "Retry; if it repeats, look at the executor's last words in the worker's log.",
  },
  EXECUTOR_TIMEOUT: {
    grpc: UNAVAILABLE,
    http: 503,
    retryable: true,
    advice: 'Raise `--batch-timeout-ms` if the model is honestly this slow.',
  },
  EXECUTION_FAILED: {
    grpc: INTERNAL,
    http: 500,
    retryable: false,
    advice: 'ONNX Runtime refused the batch; its own words are in the message.',
  },
  OUT_OF_SPACE: {
    grpc: RESOURCE_EXHAUSTED,
    http: 507,
    retryable: true,
    advice: 'Free space in the shared-memory folder, or set `--slab-dir` to a larger one.',
  },
  MODEL_UNLOADABLE: {
    grpc: FAILED_PRECONDITION,
    http: 400,
    retryable: false,
    advice: 'Mend the model file or its config.pbtxt; the other versions serve on.',
  },
  PROVIDER_MISSING: {
    grpc: FAILED_PRECONDITION,
    http: 500,
    retryable: false,
    advice: 'Install the execution provider or choose another device with `--devices`.',
  },
  BAD_SETTING: {
    grpc: INVALID_ARGUMENT,
    http: 400,
    retryable: false,
    advice: '`shoal config` prints every setting with its origin.',
  },
  BAD_FILE: {
    grpc: INVALID_ARGUMENT,
    http: 400,
    retryable: false,
    advice: '`shoal infer --help` tells which files can be sent.',
  },
  BAD_TRACE: {
    grpc: INVALID_ARGUMENT,
    http: 400,
    retryable: false,
    advice: '`shoal plan --help` shows what traces and profiles look like.',
  },
  UNSUPPORTED: { grpc: UNIMPLEMENTED, http: 501, retryable: false, advice: 'This part of the protocol is not served.' },
  ROUTE_NOT_FOUND: {
    grpc: UNIMPLEMENTED,
    http: 404,
    retryable: false,
    advice: 'The HTTP routes are those of the Open Inference Protocol V2, under /v2.',
  },
  INTERNAL: { grpc: INTERNAL, http: 500, retryable: false, advice: 'Report this with the incident id.' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

/** The one error class. `message` is a whole sentence for a person; `code` is for programs. */
export class ShoalError extends Error {
  readonly code: ErrorCode;
  /** Milliseconds after which a retry has a chance, where that is known. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; retryAfterMs?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ShoalError';
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
  }

  get kind(): ErrorKind {
    return errorKinds[this.code];
  }

  /** Any thrown value as a `ShoalError`; what was not expected becomes `INTERNAL`. */
  static from(thrown: unknown): ShoalError {
    if (thrown instanceof ShoalError) return thrown;
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    return new ShoalError('INTERNAL', `Unexpected failure: ${text}`, { cause: thrown });
  }
}

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(errorKinds, text);

/** Breaks off on a programmer's error. The message names the invariant, not the symptom. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}
