export const inferPath = '/inference.GRPCInferenceService/ModelInfer';
/** Says whose request it is, for fair shares. */
export const callerHeader = 'x-shoal-caller';
/** The trailer that says where an answer's time went. */
export const timingTrailer = 'shoal-timing';

/** `code` is empty for a good answer, else the name of the gRPC status; `timing` is the server's receipt, if any. */
export type CallDone = (code: string, message: string, body: Uint8Array | undefined, timing?: string) => void;

/** The way to the system under test. */
export interface Caller {
  /** Starts one call; `done` is called once, never before `send` has returned. `timeoutMs` may be Infinity. */
  send(body: Buffer, timeoutMs: number, done: CallDone): void;
}

/** Which client makes the calls: our own on bare sockets, or the one that most callers in this language have. */
export const clientKinds = ['http2', 'grpc-js'] as const;
export type ClientKind = (typeof clientKinds)[number];

export interface CallerOptions {
  /** `host:port`. */
  readonly server: string;
  readonly client: ClientKind;
  /** Used in turn. */
  readonly connections: number;
  /** Sent with every request. */
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** Who the requests come from, drawn anew for each; empty: nobody says. */
  readonly callers: readonly string[];
  readonly seed: number;
}

/** Connections that send ready-made ModelInfer messages. */
export interface InferCaller extends Caller {
  /** @throws NO_WORKER when nobody listens within `timeoutMs`. */
  connect(timeoutMs: number): Promise<void>;
  close(): void;
}

/** The sets of headers that requests go out with, one for each caller. */
export function headersOf({ metadata, callers }: CallerOptions): readonly (readonly (readonly [string, string])[])[] {
  return callers.length === 0 ? [metadata] : callers.map((caller) => [...metadata, [callerHeader, caller] as const]);
}

export const nobodyAnswers = (server: string): string =>
  `Nobody answers gRPC at ${server}; start a server with \`shoal up\` or name another with --server.`;

/** By status code (https://grpc.io/docs/guides/status-codes/). */
const codeNames = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

export const codeName = (code: number): string => codeNames[code] ?? `CODE_${code}`;
