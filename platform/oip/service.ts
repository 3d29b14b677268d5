import type { MethodDefinition, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { invariant } from '../../core/errors.js';
import { protoFile } from '../package-root.js';

/** `inference.proto` as loaded, for server reflection. */
export const oipPackage: PackageDefinition = loadSync(protoFile('inference.proto'), {
  keepCase: true,
  longs: Number,
  defaults: true,
});

const passThrough = (bytes: Buffer): Buffer => bytes;

function definition(): ServiceDefinition<UntypedServiceImplementation> {
  const loaded = oipPackage['inference.GRPCInferenceService'] as ServiceDefinition<UntypedServiceImplementation>;
  const infer = loaded.ModelInfer;
  invariant(infer !== undefined, 'inference.proto declares ModelInfer');
  const raw: MethodDefinition<Buffer, Buffer> = {
    ...infer,
    requestSerialize: passThrough,
    requestDeserialize: passThrough,
    responseSerialize: passThrough,
    responseDeserialize: passThrough,
  };
  return { ...loaded, ModelInfer: raw };
}

/**
 * `inference.GRPCInferenceService` for `server.addService`. The small calls take and give objects with the
 * proto's field names (below); `ModelInfer` takes and gives the serialised message, for `decodeInferRequest`
 * and `encodeInferResponse`, so that a broken message can be answered with a sentence of ours.
 */
export const oipService: ServiceDefinition<UntypedServiceImplementation> = definition();

/** Full method paths, as they appear in `:path`. */
export const oipMethod = {
  ServerLive: '/inference.GRPCInferenceService/ServerLive',
  ServerReady: '/inference.GRPCInferenceService/ServerReady',
  ModelReady: '/inference.GRPCInferenceService/ModelReady',
  ServerMetadata: '/inference.GRPCInferenceService/ServerMetadata',
  ModelMetadata: '/inference.GRPCInferenceService/ModelMetadata',
  ModelInfer: '/inference.GRPCInferenceService/ModelInfer',
  ModelStatistics: '/inference.GRPCInferenceService/ModelStatistics',
} as const;

export type EmptyMessage = Record<never, never>;

export interface ServerLiveResponse {
  readonly live: boolean;
}

export interface ReadyResponse {
  readonly ready: boolean;
}

/** Request of ModelReady, ModelMetadata and ModelStatistics. An empty version leaves the choice to the server. */
export interface ModelVersionRequest {
  readonly name: string;
  readonly version: string;
}

export interface ServerMetadataResponse {
  readonly name: string;
  readonly version: string;
  readonly extensions: readonly string[];
}

export interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  /** -1 stands for a dimension that may vary. */
  readonly shape: readonly number[];
}

export interface ModelMetadataResponse {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}
