import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ModelSpec, VersionStatus, WorkerInfo } from '../../core/model.js';
import { adminPackage, adminService, adminServiceName } from '../../platform/admin/admin-proto.js';
import type { ExplainModelResponse } from '../../platform/admin/explanation.js';
import type {
  ListedHeldVersion,
  ListedModelVersion,
  ListedSpec,
  ListedWorker,
  ListModelsResponse,
  ListWorkersResponse,
} from '../../platform/admin/listing.js';
import type { EmptyMessage } from '../../platform/oip/service.js';
import type { Logger } from '../../platform/telemetry/logger.js';
import type { GrpcService } from '../front/grpc-front.js';
import { answering } from '../front/oip-handlers.js';
import type { AdminView, VersionView, WorkerView } from '../serving.js';

/** The Admin service over a coordinator's view, to be given to `GrpcFront` among its services. */
export function adminGrpcService(view: AdminView, logger: Logger): GrpcService {
  const implementation: UntypedServiceImplementation = {
    ListModels: answering<EmptyMessage, ListModelsResponse>(logger, () => ({
      versions: view.versions().map(listedVersion),
    })),
    ListWorkers: answering<EmptyMessage, ListWorkersResponse>(logger, () => ({
      workers: view.workers().map(listedWorker),
    })),
    ExplainModel: answering<{ readonly model: string; readonly version: string }, ExplainModelResponse>(
      logger,
      ({ model, version }) => ({ versions: view.explain(model, version) }),
    ),
  };
  return { name: adminServiceName, definition: adminService, implementation, packageDefinition: adminPackage };
}

function listedVersion(version: VersionView): ListedModelVersion {
  const { model, state, reason, workers, queuedRows, queuedRequests, spec } = version;
  return {
    model,
    version: version.version,
    state,
    reason,
    workers,
    queuedRows,
    queuedRequests,
    spec: spec === undefined ? null : listedSpec(spec),
  };
}

function listedSpec(spec: ModelSpec): ListedSpec {
  const { platform, maxBatchSize, inputs, outputs, batching, resources, deviceWeight } = spec;
  const { queuePolicyByLevel, ...rule } = batching;
  return {
    platform,
    maxBatchSize,
    inputs,
    outputs,
    ...rule,
    levelPolicies: Object.entries(queuePolicyByLevel).map(([level, policy]) => ({ level: Number(level), policy })),
    buckets: spec.buckets ?? null,
    resources,
    deviceWeight,
    labels: Object.entries(spec.labels).map(([output, names]) => ({ output, labels: names })),
  };
}

function listedWorker(worker: WorkerView): ListedWorker {
  const { workerId, address, state, reason, batchesInFlight, versions, info } = worker;
  return {
    workerId,
    address,
    state,
    reason,
    batchesInFlight,
    versions: versions.map(heldVersion),
    info: info === undefined ? null : listedInfo(info),
  };
}

function listedInfo(info: WorkerInfo): NonNullable<ListedWorker['info']> {
  const { devices, softwareVersion, pid, host, pipelineDepth } = info;
  return { devices, softwareVersion, pid, host, pipelineDepth };
}

function heldVersion(held: VersionStatus): ListedHeldVersion {
  const { model, version, state, reason, slots, instances } = held;
  return { model, version, state, reason, slots, instances };
}
