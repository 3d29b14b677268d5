import type { VersionState } from '../../core/model.js';

/** Why one version's batches are as they are; `admin.proto` has the same fields. Counts are since the coordinator knows it. */
export interface ListedExplanation {
  readonly model: string;
  readonly version: string;
  readonly state: VersionState;
  /** One sentence: what would help most, or that nothing would. */
  readonly hint: string;
  readonly maxBatchSize: number;
  readonly meanRows: number;
  readonly closes: readonly { readonly reason: string; readonly batches: number; readonly rows: number }[];
  /** Requests that waited while a batch left with room for them, by what kept them out. */
  readonly lostToShape: number;
  readonly lostToVersion: number;
  readonly lostToPriority: number;
  /** Requests refused at the door because their deadline could not be met. */
  readonly refused: number;
  /** Given up in the queue for the same reason. */
  readonly shed: number;
  readonly expired: number;
  /** Refused by the model's queue policy after waiting. */
  readonly timedOut: number;
  /** Between the coordinator and the workers, there and back, milliseconds. */
  readonly linkMs: number;
  readonly arrivalsPerS: number;
  readonly profiles: readonly ListedProfile[];
  readonly workers: readonly ListedCapacity[];
  /** Who waits now, most rows first. */
  readonly callers: readonly {
    readonly caller: string;
    readonly level: number;
    readonly requests: number;
    readonly rows: number;
  }[];
  /** What waits now, most rows first. */
  readonly shapes: readonly { readonly shape: string; readonly requests: number; readonly rows: number }[];
}

/** ℓ(rows) on one class of devices. */
export interface ListedProfile {
  readonly deviceClass: string;
  readonly rows: readonly number[];
  /** One for each entry of `rows`. */
  readonly ms: readonly number[];
}

export interface ListedCapacity {
  readonly workerId: string;
  readonly device: string;
  readonly slots: number;
  readonly running: number;
  /** How much longer batches take there than on the others; 1: as long. */
  readonly slowness: number;
}

export interface ExplainModelResponse {
  readonly versions: readonly ListedExplanation[];
}
