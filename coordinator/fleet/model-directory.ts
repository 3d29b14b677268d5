import { ShoalError } from '../../core/errors.js';
import { type ModelSpec, newestFirst, type VersionState, type VersionStatus, versionKey } from '../../core/model.js';

/** One version as the whole fleet holds it. */
export interface VersionEntry {
  readonly key: string;
  readonly model: string;
  readonly version: string;
  /** From the first worker that had it ready; a later one that disagrees is not used. */
  spec: ModelSpec | undefined;
  readonly holders: Map<string, VersionStatus>;
  /** Monotonic instant until which requests still wait for a replica to come back; 0: no grace. */
  graceUntilMs: number;
}

interface ModelEntry {
  readonly versions: Map<string, VersionEntry>;
  /** Newest version that can take requests; recomputed on every change. */
  newest: VersionEntry | undefined;
}

/** Which models and versions there are, who holds them, and which one a name means. */
export class ModelDirectory {
  readonly #models = new Map<string, ModelEntry>();

  /**
   * Takes a worker's word on one version. `undefined` status: the worker holds it no more.
   * Returns the entry, and whether the worker's spec contradicts the one in use.
   */
  update(
    workerId: string,
    model: string,
    version: string,
    status: VersionStatus | undefined,
  ): { entry: VersionEntry; conflicting: boolean } {
    let modelEntry = this.#models.get(model);
    if (modelEntry === undefined) {
      modelEntry = { versions: new Map(), newest: undefined };
      this.#models.set(model, modelEntry);
    }
    let entry = modelEntry.versions.get(version);
    if (entry === undefined) {
      entry = { key: versionKey(model, version), model, version, spec: undefined, holders: new Map(), graceUntilMs: 0 };
      modelEntry.versions.set(version, entry);
    }
    const othersServe = [...entry.holders].some(([id, held]) => id !== workerId && held.state === 'ready');
    let conflicting = false;
    if (status === undefined) entry.holders.delete(workerId);
    else {
      entry.holders.set(workerId, status);
      if (status.state === 'ready' && status.spec !== undefined) {
        if (!othersServe) entry.spec = keepIfEqual(entry.spec, status.spec);
        else conflicting = JSON.stringify(entry.spec) !== JSON.stringify(status.spec);
      }
    }
    this.refresh(model);
    return { entry, conflicting };
  }

  /** Recomputes what an unversioned request of this model means. */
  refresh(model: string): void {
    const entry = this.#models.get(model);
    if (entry === undefined) return;
    const usable = [...entry.versions.values()].filter(isUsable);
    entry.newest = usable.sort((a, b) => newestFirst(a.version, b.version))[0];
  }

  /** Drops versions that no worker holds and nobody waits for. */
  forget(entry: VersionEntry): void {
    const model = this.#models.get(entry.model);
    model?.versions.delete(entry.version);
    if (model?.versions.size === 0) this.#models.delete(entry.model);
    else this.refresh(entry.model);
  }

  /**
   * The version that a request means (empty: the newest that serves).
   * @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND, MODEL_NOT_READY
   */
  resolve(model: string, version: string): { entry: VersionEntry; spec: ModelSpec } {
    const modelEntry = this.#models.get(model);
    if (modelEntry === undefined) throw unknownModel(model);
    const entry = version === '' ? modelEntry.newest : modelEntry.versions.get(version);
    if (entry === undefined) {
      if (version === '') throw notReady(model, [...modelEntry.versions.values()]);
      throw unknownVersion(model, version, modelEntry);
    }
    if (entry.spec === undefined || !isUsable(entry)) throw notReady(model, [entry]);
    return { entry, spec: entry.spec };
  }

  /**
   * One version, whatever its state, or all of a model's (empty version), newest first.
   * @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND
   */
  find(model: string, version: string): VersionEntry[] {
    const modelEntry = this.#models.get(model);
    if (modelEntry === undefined) throw unknownModel(model);
    if (version === '') return [...modelEntry.versions.values()].sort((a, b) => newestFirst(a.version, b.version));
    const entry = modelEntry.versions.get(version);
    if (entry === undefined) throw unknownVersion(model, version, modelEntry);
    return [entry];
  }

  /** @throws MODEL_NOT_FOUND, VERSION_NOT_FOUND */
  isReady(model: string, version: string): boolean {
    try {
      return hasReady(this.resolve(model, version).entry);
    } catch (thrown) {
      if (thrown instanceof ShoalError && thrown.code === 'MODEL_NOT_READY') return false;
      throw thrown;
    }
  }

  /** Sorted by model, then version, oldest first. */
  all(): VersionEntry[] {
    const entries = [...this.#models.values()].flatMap((model) => [...model.versions.values()]);
    return entries.sort((a, b) => (a.model < b.model ? -1 : a.model > b.model ? 1 : newestFirst(b.version, a.version)));
  }

  readyVersions(model: string): string[] {
    const versions = [...(this.#models.get(model)?.versions.values() ?? [])].filter(hasReady);
    return versions.map((entry) => entry.version).sort((a, b) => newestFirst(b, a));
  }
}

export const hasReady = (entry: VersionEntry): boolean => {
  for (const status of entry.holders.values()) if (status.state === 'ready') return true;
  return false;
};

const isUsable = (entry: VersionEntry): boolean =>
  entry.spec !== undefined && (entry.graceUntilMs > 0 || hasReady(entry));

/** The fleet's one word for a version: the best that any worker says. */
export function overallState(entry: VersionEntry): { state: VersionState; reason: string } {
  const order: readonly VersionState[] = ['ready', 'loading', 'draining', 'quarantined', 'unavailable'];
  for (const state of order) {
    for (const [workerId, status] of entry.holders) {
      if (status.state !== state) continue;
      const reason = status.reason === '' ? '' : `${workerId}: ${status.reason}`;
      return { state, reason };
    }
  }
  return { state: 'unavailable', reason: 'no connected worker holds it' };
}

function notReady(model: string, entries: readonly VersionEntry[]): ShoalError {
  const states = entries.map((entry) => {
    const { state, reason } = overallState(entry);
    return `version ${entry.version} is ${state}${reason === '' ? '' : ` (${reason})`}`;
  });
  const said = states.slice(0, 3).join('; ') || 'it has no versions';
  return new ShoalError('MODEL_NOT_READY', `Model '${model}' cannot take requests: ${said}.`, { retryAfterMs: 1000 });
}

const unknownModel = (model: string): ShoalError =>
  new ShoalError('MODEL_NOT_FOUND', `There is no model '${printable(model)}'.`);

function unknownVersion(model: string, version: string, { versions }: ModelEntry): ShoalError {
  const known = [...versions.keys()].sort(newestFirst).join(', ');
  return new ShoalError('VERSION_NOT_FOUND', `Model '${model}' has no version '${printable(version)}', only ${known}.`);
}

/** Names come from strangers: keep them short and on one line. */
const printable = (name: string): string => {
  const line = name.replace(/[^\x20-\x7e\u00a0-\uffff]/g, '?');
  return line.length > 100 ? `${line.slice(0, 100)}…` : line;
};

/** The same object as long as nothing changed, so that caches keyed by it stay warm. */
const keepIfEqual = (old: ModelSpec | undefined, next: ModelSpec): ModelSpec =>
  old !== undefined && JSON.stringify(old) === JSON.stringify(next) ? old : next;
