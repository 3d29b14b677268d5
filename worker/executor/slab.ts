import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ShoalError } from '../../core/errors.js';

/**
 * A slab is a file in memory (`/dev/shm`) through which tensors pass between a worker and one executor.
 * It has no name: the worker makes it, unlinks it at once and lets the child inherit the descriptor, so that
 * nothing is left behind however either of them ends.
 */

/** Every tensor starts on such a boundary, so that a typed array of any element can lie over it. */
export const tensorAlignment = 64;

/** An input slab begins with these bytes; the first says that the batch was given up (0: no). */
export const slabHeaderBytes = 64;

/** One read or write of the kernel moves at most 2^31 - 4096 bytes. */
export const maxSlabBytes = 0x7fff_f000;

export const alignUp = (bytes: number): number => Math.ceil(bytes / tensorAlignment) * tensorAlignment;

/** The folder slabs are made in when nobody says otherwise. */
export const defaultSlabDir = (): string => (fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir());

/** @throws OUT_OF_SPACE, BAD_SETTING when the folder cannot hold a file. */
export function openSlab(folder: string): number {
  const file = path.join(folder, `shoal-${process.pid}-${randomUUID()}.slab`);
  try {
    const fd = fs.openSync(file, 'wx+', 0o600);
    fs.unlinkSync(file);
    return fd;
  } catch (thrown) {
    const full = outOfSpace(thrown, folder, 0);
    if (full !== undefined) throw full;
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    throw new ShoalError('BAD_SETTING', `The shared-memory folder ${folder} cannot be used: ${text}.`, {
      cause: thrown,
    });
  }
}

/** As much as a small batch takes. */
const probeBytes = 64 * 1024;

/**
 * Whether slabs can be made in the folder and written to: better found at the start, once, than for every version.
 * @throws OUT_OF_SPACE, BAD_SETTING
 */
export function checkSlabFolder(folder: string): void {
  const fd = openSlab(folder);
  try {
    writeParts(fd, [new Uint8Array(probeBytes)], probeBytes, 0);
  } catch (thrown) {
    throw outOfSpace(thrown, folder, probeBytes) ?? thrown;
  } finally {
    fs.closeSync(fd);
  }
}

/** OUT_OF_SPACE when the failure is one of a full disk or quota, else undefined. */
export function outOfSpace(thrown: unknown, folder: string, wantedBytes: number): ShoalError | undefined {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EFBIG') return undefined;
  const wanted = wantedBytes > 0 ? ` for a batch of ${wantedBytes} bytes` : '';
  return new ShoalError('OUT_OF_SPACE', `The shared-memory folder ${folder} has no room${wanted} (${code}).`, {
    cause: thrown,
  });
}

/** Writes all parts, one after the other, at `position`. @throws the system's error, ENOSPC among them. */
export function writeParts(fd: number, parts: readonly Uint8Array[], byteLength: number, position: number): void {
  const [first] = parts;
  if (first === undefined || byteLength === 0) return;
  let written =
    parts.length === 1 ? fs.writeSync(fd, first, 0, first.length, position) : fs.writevSync(fd, parts, position);
  if (written === byteLength) return;
  // A short write: usually the folder just became full. Going on from there makes the kernel say so.
  let start = 0;
  for (const part of parts) {
    while (written < start + part.length) {
      const done = written - start;
      written += fs.writeSync(fd, part, done, part.length - done, position + written);
    }
    start += part.length;
  }
}

/** Fills `target` from the start of the slab. @throws Error when the slab is shorter. */
export function readSlab(fd: number, target: Uint8Array, byteLength: number): void {
  let have = 0;
  while (have < byteLength) {
    const got = fs.readSync(fd, target, have, byteLength - have, have);
    if (got === 0) throw new Error(`a slab ends after ${have} of ${byteLength} bytes`);
    have += got;
  }
}

/** Gives a slab's memory back; its next write grows it again. */
export const emptySlab = (fd: number): void => fs.ftruncateSync(fd, 0);
