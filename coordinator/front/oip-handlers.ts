import type { handleUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import { ShoalError } from '../../core/errors.js';
import type {
  EmptyMessage,
  ModelMetadataResponse,
  ModelVersionRequest,
  ReadyResponse,
  ServerLiveResponse,
  ServerMetadataResponse,
} from '../../platform/oip/service.js';
import type { ModelStatisticsResponse } from '../../platform/oip/statistics.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { InferenceService } from '../serving.js';
import { grpcStatus } from './grpc-status.js';
import { callerError } from './incident.js';
import type { StatisticsSource } from './model-statistics.js';
import { modelMetadata, serverMetadata } from './oip-metadata.js';

/** Every method of `inference.GRPCInferenceService` but ModelInfer, which has a door of its own (`infer-method.ts`). */
export function oipHandlers(parts: {
  readonly service: InferenceService;
  readonly statistics: StatisticsSource;
  readonly logger: Logger;
  readonly softwareVersion: string;
}) {
  const { service, statistics, logger, softwareVersion } = parts;
  return {
    ServerLive: answering<EmptyMessage, ServerLiveResponse>(logger, () => ({ live: true })),
    ServerReady: answering<EmptyMessage, ReadyResponse>(logger, () => ({ ready: service.ready() })),
    ServerMetadata: answering<EmptyMessage, ServerMetadataResponse>(logger, () => serverMetadata(softwareVersion)),
    ModelReady: answering<ModelVersionRequest, ReadyResponse>(logger, ({ name, version }) => ({
      ready: readyOrUnknown(service, name, version),
    })),
    ModelMetadata: answering<ModelVersionRequest, ModelMetadataResponse>(logger, ({ name, version }) => {
      const { spec, versions } = service.describe(name, version);
      return modelMetadata(spec, versions);
    }),
    ModelStatistics: answering<ModelVersionRequest, ModelStatisticsResponse>(logger, ({ name, version }) => ({
      model_stats: statistics.modelStatistics(name, version),
    })),
  } satisfies UntypedServiceImplementation;
}

/** As Triton answers: a model nobody has heard of is not ready, so that a caller may wait for it by asking. */
function readyOrUnknown(service: InferenceService, model: string, version: string): boolean {
  try {
    return service.modelReady(model, version);
  } catch (thrown) {
    const { code } = ShoalError.from(thrown);
    if (code === 'MODEL_NOT_FOUND' || code === 'VERSION_NOT_FOUND') return false;
    throw thrown;
  }
}

/** A unary handler from a plain function; what it throws becomes the call's status. */
export function answering<Request, Response>(
  logger: Logger,
  answer: (request: Request) => Response,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    let response: Response;
    try {
      response = answer(call.request);
    } catch (thrown) {
      callback(grpcStatus(callerError(thrown, logger)));
      return;
    }
    callback(null, response);
  };
}
