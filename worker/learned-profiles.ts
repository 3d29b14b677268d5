import type { CancelTimer, Clock, Timers } from '../core/clock.js';
import { LatencyProfile } from '../core/latency-profile.js';
import type { ProfilePoint } from '../core/model.js';

export type ProfilesByClass = Readonly<Record<string, readonly ProfilePoint[]>>;

export interface LearnedProfilesOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** What was told last is no longer true: some typical time has moved by more than a quarter. */
  readonly moved: () => void;
  /** What was saved last is no longer quite true. Must not throw. */
  readonly save: (profiles: ProfilesByClass) => Promise<void>;
}

/** How often it is looked whether anything has moved, while batches run. */
const lookEveryMs = 10_000;
const saveEveryMs = 60_000;
/** By so much a typical time must differ from what was told, or saved. */
const toldRatio = 1.25;
const savedRatio = 1.05;

interface Learned {
  readonly profile: LatencyProfile;
  /** As coordinators heard it last. */
  told: LatencyProfile;
  saved: LatencyProfile;
}

/** The latency profiles of one version, by device class: learned batch by batch, told and saved when they have moved. */
export class LearnedProfiles {
  readonly #options: LearnedProfilesOptions;
  readonly #classes = new Map<string, Learned>();
  #cancelLook: CancelTimer | undefined;
  #isUnsaved = false;
  #savedMs: number;
  #saving: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: LearnedProfilesOptions) {
    this.#options = options;
    this.#savedMs = options.clock.nowMs();
  }

  get points(): ProfilesByClass {
    return Object.fromEntries([...this.#classes].map(([name, { profile }]) => [name, profile.points()]));
  }

  /** One good batch. Called for every one: costs about a microsecond. */
  observe(deviceClass: string, rows: number, ms: number): void {
    this.#of(deviceClass).profile.observe(rows, ms);
    this.#isUnsaved = true;
    if (this.#cancelLook === undefined && !this.#isClosed) this.#lookLater();
  }

  /** What trial runs or an earlier run of this worker say; gives way to what real batches take. */
  seed(deviceClass: string, points: readonly ProfilePoint[]): void {
    this.#of(deviceClass).profile.seed(points);
  }

  /** Coordinators have just heard `points`. */
  told(): void {
    for (const learned of this.#classes.values()) learned.told = copyOf(learned.profile);
  }

  /** Ends the looking and saves what is new; resolves when it is written. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    if (this.#isUnsaved) this.#save();
    await this.#saving;
  }

  #of(deviceClass: string): Learned {
    let learned = this.#classes.get(deviceClass);
    if (learned === undefined) {
      learned = { profile: new LatencyProfile(), told: new LatencyProfile(), saved: new LatencyProfile() };
      this.#classes.set(deviceClass, learned);
    }
    return learned;
  }

  #lookLater(): void {
    this.#cancelLook = this.#options.timers.after(lookEveryMs, () => {
      this.#cancelLook = undefined;
      this.#look();
    });
  }

  #look(): void {
    const all = [...this.#classes.values()];
    if (all.some(({ profile, told }) => hasMoved(profile, told, toldRatio))) this.#options.moved();
    if (this.#options.clock.nowMs() - this.#savedMs >= saveEveryMs) {
      if (all.some(({ profile, saved }) => hasMoved(profile, saved, savedRatio))) this.#save();
      this.#isUnsaved = false;
    }
    // What is not saved yet will be, though no batch may come any more.
    if (this.#isUnsaved) this.#lookLater();
  }

  #save(): void {
    this.#isUnsaved = false;
    this.#savedMs = this.#options.clock.nowMs();
    for (const learned of this.#classes.values()) learned.saved = copyOf(learned.profile);
    const { points } = this;
    this.#saving = this.#saving.then(() => this.#options.save(points));
  }
}

function copyOf(profile: LatencyProfile): LatencyProfile {
  const copy = new LatencyProfile();
  copy.seed(profile.points());
  return copy;
}

const hasMoved = (now: LatencyProfile, before: LatencyProfile, ratio: number): boolean =>
  now.points().some(({ rows, ms }) => {
    const beforeMs = before.typicalMs(rows);
    return ms > ratio * beforeMs || ms * ratio < beforeMs;
  });
