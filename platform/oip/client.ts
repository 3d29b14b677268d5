import {
  type CallOptions,
  type ChannelOptions,
  Client,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { wallClockMs } from '../../core/clock.js';
import { type ErrorCode, GrpcStatus, invariant, ShoalError } from '../../core/errors.js';
import type { InferRequest } from '../../core/inference.js';
import { channelOptions } from '../grpc-options.js';
import { decodeStatusDetails, statusDetailsTrailer } from './error-details.js';
import { encodeInferRequest } from './request.js';
import { type DecodedResponse, decodeInferResponse } from './response.js';
import {
  type EmptyMessage,
  type ModelMetadataResponse,
  type ModelVersionRequest,
  oipService,
  type ReadyResponse,
  type ServerLiveResponse,
  type ServerMetadataResponse,
} from './service.js';
import type { ModelStatistics, ModelStatisticsResponse } from './statistics.js';

export interface CallSettings {
  /** Milliseconds from now until the caller gives up; sent as the gRPC deadline. Default: none. */
  readonly timeoutMs?: number;
  /** Sent as request metadata, for example `traceparent`. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Aborting cancels the call, here and at the server; the promise then rejects with `CANCELLED`. */
  readonly signal?: AbortSignal;
}

/** Code for a status that came without our own error details, as from another OIP server. */
const codeOfStatus: Readonly<Record<number, ErrorCode>> = {
  [GrpcStatus.CANCELLED]: 'CANCELLED',
  [GrpcStatus.INVALID_ARGUMENT]: 'INVALID_REQUEST',
  [GrpcStatus.DEADLINE_EXCEEDED]: 'DEADLINE_EXPIRED',
  [GrpcStatus.NOT_FOUND]: 'MODEL_NOT_FOUND',
  [GrpcStatus.RESOURCE_EXHAUSTED]: 'QUEUE_FULL',
  [GrpcStatus.FAILED_PRECONDITION]: 'MODEL_UNLOADABLE',
  [GrpcStatus.UNIMPLEMENTED]: 'UNSUPPORTED',
  [GrpcStatus.UNAVAILABLE]: 'MODEL_NOT_READY',
};

/** A failed call as the error the server meant. `cause` is grpc-js's error with the status and trailers. */
export function errorOfCall(failure: ServiceError): ShoalError {
  const [trailer] = failure.metadata?.get(statusDetailsTrailer) ?? [];
  const details = Buffer.isBuffer(trailer) ? decodeStatusDetails(trailer) : undefined;
  const code = details?.code ?? codeOfStatus[failure.code] ?? 'INTERNAL';
  const message = failure.details || failure.message;
  const retryAfterMs = details?.retryAfterMs;
  return new ShoalError(code, message, { cause: failure, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
}

/**
 * A client of any Open Inference Protocol server over gRPC. Every failed call rejects with a `ShoalError`.
 */
export class OipClient {
  readonly address: string;
  readonly #client: Client;

  /**
   * Connects when first used.
   * @param address `host:port`, or any gRPC target
   * @param options grpc-js channel options, laid over our defaults; `{'grpc.use_local_subchannel_pool': 1}`
   * gives this client a connection of its own
   */
  constructor(address: string, options: ChannelOptions = {}) {
    this.address = address;
    this.#client = new Client(address, credentials.createInsecure(), { ...channelOptions(), ...options });
  }

  /** Runs a model once. @throws what the server answered; INTERNAL when its answer cannot be read */
  async infer(request: InferRequest, settings: CallSettings = {}): Promise<DecodedResponse> {
    return decodeInferResponse(await this.inferEncoded(encodeInferRequest(request), settings));
  }

  /** As `infer`, for a serialised ModelInferRequest; gives the serialised ModelInferResponse. */
  inferEncoded(message: Buffer, settings: CallSettings = {}): Promise<Buffer> {
    return this.#call<Buffer, Buffer>('ModelInfer', message, settings);
  }

  async serverLive(settings: CallSettings = {}): Promise<boolean> {
    return (await this.#call<EmptyMessage, ServerLiveResponse>('ServerLive', {}, settings)).live;
  }

  async serverReady(settings: CallSettings = {}): Promise<boolean> {
    return (await this.#call<EmptyMessage, ReadyResponse>('ServerReady', {}, settings)).ready;
  }

  serverMetadata(settings: CallSettings = {}): Promise<ServerMetadataResponse> {
    return this.#call<EmptyMessage, ServerMetadataResponse>('ServerMetadata', {}, settings);
  }

  async modelReady(model: string, version = '', settings: CallSettings = {}): Promise<boolean> {
    const request = { name: model, version };
    return (await this.#call<ModelVersionRequest, ReadyResponse>('ModelReady', request, settings)).ready;
  }

  modelMetadata(model: string, version = '', settings: CallSettings = {}): Promise<ModelMetadataResponse> {
    const request = { name: model, version };
    return this.#call<ModelVersionRequest, ModelMetadataResponse>('ModelMetadata', request, settings);
  }

  /** Of every version (empty model), of those of one model (empty version), or of one. */
  async modelStatistics(model = '', version = '', settings: CallSettings = {}): Promise<readonly ModelStatistics[]> {
    const request = { name: model, version };
    const response = await this.#call<ModelVersionRequest, ModelStatisticsResponse>(
      'ModelStatistics',
      request,
      settings,
    );
    return response.model_stats;
  }

  /** Resolves once a connection is up. @throws MODEL_NOT_READY when none came about in `timeoutMs` */
  connected(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(wallClockMs() + timeoutMs, (failure) => {
        if (failure === undefined) resolve();
        else {
          const sentence = `No connection to ${this.address} within ${timeoutMs} ms.`;
          reject(new ShoalError('MODEL_NOT_READY', sentence, { cause: failure }));
        }
      });
    });
  }

  /** Lets calls under way finish and takes no more. */
  close(): void {
    this.#client.close();
  }

  #call<Request, Response>(name: string, request: Request, settings: CallSettings): Promise<Response> {
    const method = oipService[name] as MethodDefinition<Request, Response> | undefined;
    invariant(method !== undefined, 'the client calls what the service declares');
    const { signal } = settings;
    if (signal?.aborted)
      return Promise.reject(new ShoalError('CANCELLED', 'The call was given up before it was sent.'));
    return new Promise((resolve, reject) => {
      let call: ClientUnaryCall | undefined;
      const cancel = (): void => call?.cancel();
      call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadataOf(settings),
        callOptions(settings),
        (failure, response) => {
          signal?.removeEventListener('abort', cancel);
          if (failure !== null) reject(errorOfCall(failure));
          else if (response === undefined) reject(new ShoalError('INTERNAL', 'The server sent no answer.'));
          else resolve(response);
        },
      );
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }
}

function metadataOf(settings: CallSettings): Metadata {
  const metadata = new Metadata();
  if (settings.metadata !== undefined) {
    for (const [key, value] of Object.entries(settings.metadata)) metadata.set(key, value);
  }
  return metadata;
}

/** grpc-js takes deadlines as wall-clock instants only. */
const callOptions = (settings: CallSettings): CallOptions =>
  settings.timeoutMs === undefined ? {} : { deadline: wallClockMs() + settings.timeoutMs };
