import type { Clock, Timers } from '../core/clock.js';
import type { BatchTiming } from '../core/link.js';
import { deviceClass, type ProfilePoint } from '../core/model.js';
import { LearnedProfiles, type ProfilesByClass } from './learned-profiles.js';
import { type ProfileStore, sha256OfFile } from './profile-store.js';
import type { VersionPlan } from './repository/version-plan.js';

export interface VersionProfilesOptions {
  readonly plan: VersionPlan;
  readonly instances: readonly { readonly id: string; readonly device: string }[];
  /** Threads inside one operator: executions are faster or slower by them. */
  readonly threads: number;
  /** Where profiles outlive the worker; undefined: nowhere. */
  readonly store: ProfileStore | undefined;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Coordinators should hear `points` again. */
  readonly moved: () => void;
}

/** How long executions of one version take here: what its instances show, and what is known of them from earlier days. */
export class VersionProfiles {
  readonly #options: VersionProfilesOptions;
  readonly #learned: LearnedProfiles;
  readonly #classOfInstance: ReadonlyMap<string, string>;
  readonly #informed = new Set<string>();
  /** Of the model file; undefined where nothing is stored or the file could not be read. */
  #sha256: Promise<string | undefined> = Promise.resolve(undefined);

  constructor(options: VersionProfilesOptions) {
    const { clock, timers, moved } = options;
    this.#options = options;
    this.#classOfInstance = new Map(options.instances.map(({ id, device }) => [id, deviceClass(device)]));
    this.#learned = new LearnedProfiles({ clock, timers, moved, save: (profiles) => this.#save(profiles) });
  }

  get points(): ProfilesByClass {
    return this.#learned.points;
  }

  /** Begins to read the model file, beside the load. */
  identify(): void {
    if (this.#options.store === undefined) return;
    // The load itself tells, and better, when the file cannot be read.
    this.#sha256 = sha256OfFile(this.#options.plan.modelPath).catch(() => undefined);
  }

  /**
   * Should trial runs on this device be timed? Not where its class was timed before, nor where something is stored:
   * that is worth more, for it comes of real data.
   */
  async wantsTrials(device: string): Promise<boolean> {
    const ofClass = deviceClass(device);
    if (this.#informed.has(ofClass)) return false;
    const { store, threads } = this.#options;
    const sha256 = await this.#sha256;
    const stored = sha256 === undefined ? [] : ((await store?.read(sha256)) ?? []);
    const earlier = stored.find((one) => one.deviceClass === ofClass && one.threads === threads);
    if (earlier === undefined) return true;
    this.inform(device, earlier.points);
    return false;
  }

  /** What trial runs took: counts until real batches say otherwise. */
  inform(device: string, points: readonly ProfilePoint[]): void {
    const ofClass = deviceClass(device);
    this.#informed.add(ofClass);
    this.#learned.seed(ofClass, points);
  }

  /** One good batch. */
  observe(instance: string, rows: number, { inputUs, executeUs, outputUs }: BatchTiming): void {
    const ofClass = this.#classOfInstance.get(instance);
    if (ofClass !== undefined) this.#learned.observe(ofClass, rows, (inputUs + executeUs + outputUs) / 1000);
  }

  /** Coordinators hear `points` now. */
  told(): void {
    this.#learned.told();
  }

  /** Resolves when what is new is stored. */
  close(): Promise<void> {
    return this.#learned.close();
  }

  async #save(profiles: ProfilesByClass): Promise<void> {
    const sha256 = await this.#sha256;
    if (sha256 === undefined) return;
    const { plan, threads, store } = this.#options;
    const all = Object.entries(profiles).map(([name, points]) => ({ deviceClass: name, threads, points }));
    await store?.write({ sha256, model: plan.model, version: plan.version }, all);
  }
}
