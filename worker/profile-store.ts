import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { wallClockMs } from '../core/clock.js';
import type { ProfilePoint } from '../core/model.js';

/** What executions took on one class of devices, with so many threads inside an operator. */
export interface StoredProfile {
  readonly deviceClass: string;
  readonly threads: number;
  readonly points: readonly ProfilePoint[];
}

/** The model whose file it is, for people who look into the folder. */
export interface ProfileOwner {
  /** SHA-256 of the model file, in hexadecimal. */
  readonly sha256: string;
  readonly model: string;
  readonly version: string;
}

export interface ProfileStoreOptions {
  /** Made at the first write. */
  readonly folder: string;
  readonly workerId: string;
  readonly logger: Logger;
}

const fileFormat = 1;
const maxFileBytes = 1 << 20;
/** Classes and thread counts of one model; more of them than a machine can have are dropped, the oldest first. */
const maxProfiles = 32;
/** A temporary file this old was left by a writer that was killed: writing takes milliseconds. */
const abandonedMs = 600_000;

const storedFile = z.object({
  format: z.literal(fileFormat),
  sha256: z.string(),
  model: z.string(),
  version: z.string(),
  profiles: z
    .array(
      z.object({
        deviceClass: z.string(),
        threads: z.number().int().min(1),
        points: z.array(z.object({ rows: z.number().int().min(1), ms: z.number().positive() })).max(128),
      }),
    )
    .max(maxProfiles),
});

/** The SHA-256 of a file, read piece by piece. @throws what the file system says */
export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * Latency profiles in files, one for each model file, named by its content: what was learned stays true when the model
 * moves to another name, version or repository, and is never taken for another's. A file is replaced whole, so that
 * workers which share the folder, and workers that are killed, leave either the old one or the new one. Nothing here is
 * needed to serve: what goes wrong is a warning.
 */
export class ProfileStore {
  readonly #options: ProfileStoreOptions;
  #isWarnedOfWrites = false;
  #isSwept = false;
  #writes = 0;

  constructor(options: ProfileStoreOptions) {
    this.#options = options;
  }

  /** Empty when there is no file, or none that can be trusted (with a warning). Never throws. */
  async read(sha256: string): Promise<readonly StoredProfile[]> {
    const file = this.#fileOf(sha256);
    try {
      const { size } = await fs.stat(file);
      if (size > maxFileBytes) throw new Error(`it has ${size} bytes`);
      const stored = storedFile.parse(JSON.parse(await fs.readFile(file, 'utf8')));
      if (stored.sha256 !== sha256) throw new Error('it belongs to another model file');
      return stored.profiles;
    } catch (thrown) {
      if (isAbsent(thrown)) return [];
      const why = thrown instanceof z.ZodError ? 'it is not one of this release' : reasonOf(thrown);
      this.#options.logger.warn({ file }, `The latency profiles in ${file} are left aside: ${why}.`);
      return [];
    }
  }

  /** Merges these profiles into the model's file, class by class. Never throws: the first failure is a warning. */
  async write(owner: ProfileOwner, profiles: readonly StoredProfile[]): Promise<void> {
    const { folder, logger } = this.#options;
    try {
      await fs.mkdir(folder, { recursive: true });
      await this.#sweep();
      const isReplaced = (old: StoredProfile) =>
        profiles.some(({ deviceClass, threads }) => deviceClass === old.deviceClass && threads === old.threads);
      const kept = (await this.read(owner.sha256)).filter((old) => !isReplaced(old));
      const all = [...kept, ...profiles].slice(-maxProfiles);
      await this.#replace(this.#fileOf(owner.sha256), { ...owner, profiles: all });
    } catch (thrown) {
      if (this.#isWarnedOfWrites) return;
      this.#isWarnedOfWrites = true;
      logger.warn(
        { folder },
        `Latency profiles cannot be kept in ${folder}: ${reasonOf(thrown)}. New replicas will learn them anew.`,
      );
    }
  }

  #fileOf(sha256: string): string {
    return path.join(this.#options.folder, `${sha256}.json`);
  }

  async #replace(file: string, content: ProfileOwner & { readonly profiles: readonly StoredProfile[] }): Promise<void> {
    // Worker ids are free text; process and count keep writers of the same machine apart.
    const writer = `${encodeURIComponent(this.#options.workerId)}.${process.pid}.${++this.#writes}`;
    const temporary = `${file}.${writer}.tmp`;
    try {
      const handle = await fs.open(temporary, 'w');
      try {
        await handle.writeFile(`${JSON.stringify({ format: fileFormat, ...content }, null, 1)}\n`);
        // Else the name could reach the disk before the content, and a power cut would leave an empty file.
        await handle.sync();
      } finally {
        await handle.close();
      }
      await fs.rename(temporary, file);
    } catch (thrown) {
      await fs.rm(temporary, { force: true });
      throw thrown;
    }
  }

  /** Once: removes what killed writers left. */
  async #sweep(): Promise<void> {
    if (this.#isSwept) return;
    this.#isSwept = true;
    const { folder } = this.#options;
    for (const name of await fs.readdir(folder)) {
      if (!/^[0-9a-f]{64}\.json\..*\.tmp$/.test(name)) continue;
      const file = path.join(folder, name);
      // It may have got its final name meanwhile.
      const status = await fs
        .stat(file)
        .catch((thrown: unknown) => (isAbsent(thrown) ? undefined : Promise.reject(thrown)));
      if (status !== undefined && wallClockMs() - status.mtimeMs > abandonedMs) await fs.rm(file, { force: true });
    }
  }
}

const isAbsent = (thrown: unknown): boolean => (thrown as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';

const reasonOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
