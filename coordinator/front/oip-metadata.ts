import type { ModelSpec } from '../../core/model.js';
import type { ModelMetadataResponse, ServerMetadataResponse } from '../../platform/oip/service.js';

export const serverName = 'shoal';

/** What the OIP calls ServerMetadata. Extensions have Triton's names. */
export const serverMetadata = (softwareVersion: string): ServerMetadataResponse => ({
  name: serverName,
  version: softwareVersion,
  extensions: ['statistics'],
});

/** What the OIP calls ModelMetadata. */
export function modelMetadata(spec: ModelSpec, versions: readonly string[]): ModelMetadataResponse {
  const { model, platform, inputs, outputs } = spec;
  return { name: model, versions, platform, inputs, outputs };
}
