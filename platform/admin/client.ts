import { Client, credentials, type Metadata, type ServiceError } from '@grpc/grpc-js';
import { wallClockMs } from '../../core/clock.js';
import { type ErrorCode, errorKinds, GrpcStatus, isErrorCode, ShoalError } from '../../core/errors.js';
import { channelOptions } from '../grpc-options.js';
import { adminService } from './admin-proto.js';
import type { ExplainModelResponse, ListedExplanation } from './explanation.js';
import type { ListedModelVersion, ListedWorker, ListModelsResponse, ListWorkersResponse } from './listing.js';

export interface AdminClientOptions {
  /** Longest wait for an answer, milliseconds. */
  readonly timeoutMs?: number;
}

/**
 * Asks a coordinator's Admin service. Every failure is a `ShoalError`: COORDINATOR_UNREACHABLE when nobody
 * answers at the address, DEADLINE_EXPIRED when the answer takes too long, else the coordinator's own code.
 */
export class AdminClient {
  readonly #address: string;
  readonly #timeoutMs: number;
  readonly #client: Client;

  /** `address`: `host:port` of the coordinator's gRPC port. */
  constructor(address: string, options: AdminClientOptions = {}) {
    this.#address = address;
    this.#timeoutMs = options.timeoutMs ?? 5_000;
    this.#client = new Client(address, credentials.createInsecure(), channelOptions());
  }

  async listModels(): Promise<readonly ListedModelVersion[]> {
    return (await this.#call<ListModelsResponse>('ListModels')).versions;
  }

  async listWorkers(): Promise<readonly ListedWorker[]> {
    return (await this.#call<ListWorkersResponse>('ListWorkers')).workers;
  }

  /** `version` empty: all versions. @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND */
  async explainModel(model: string, version: string): Promise<readonly ListedExplanation[]> {
    return (await this.#call<ExplainModelResponse>('ExplainModel', { model, version })).versions;
  }

  close(): void {
    this.#client.close();
  }

  #call<Response>(method: 'ListModels' | 'ListWorkers' | 'ExplainModel', request: object = {}): Promise<Response> {
    const definition = adminService[method];
    if (definition === undefined) throw new Error(`admin.proto has no method ${method}`);
    const { path, requestSerialize, responseDeserialize } = definition;
    const deadline = wallClockMs() + this.#timeoutMs;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        { deadline },
        (error, response) => {
          if (error !== null) reject(this.#failure(error));
          else resolve(response as Response);
        },
      );
    });
  }

  #failure(error: ServiceError): ShoalError {
    const code = ownCode(error.metadata);
    if (code !== undefined) return new ShoalError(code, withoutAdvice(error.details, code), { cause: error });
    const where = `the coordinator at ${this.#address}`;
    switch (error.code) {
      case GrpcStatus.UNAVAILABLE:
        return new ShoalError('COORDINATOR_UNREACHABLE', `Cannot reach ${where}: ${error.details}.`, { cause: error });
      case GrpcStatus.DEADLINE_EXCEEDED:
        return new ShoalError('DEADLINE_EXPIRED', `No answer from ${where} within ${this.#timeoutMs} ms.`, {
          cause: error,
        });
      case GrpcStatus.UNIMPLEMENTED:
        return new ShoalError('UNSUPPORTED', `${capitalised(where)} has no Admin service: ${error.details}.`, {
          cause: error,
        });
      default:
        return new ShoalError('INTERNAL', `The call to ${where} failed: ${error.details}.`, { cause: error });
    }
  }
}

/** A status carries sentence and advice; whoever shows a `ShoalError` adds the advice itself. */
function withoutAdvice(details: string, code: ErrorCode): string {
  const ending = ` ${errorKinds[code].advice}`;
  return details.endsWith(ending) ? details.slice(0, -ending.length) : details;
}

function ownCode(metadata: Metadata | undefined): ErrorCode | undefined {
  const text = metadata?.get('shoal-error')[0];
  return typeof text === 'string' && isErrorCode(text) ? text : undefined;
}

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
