/**
 * Bounds on what one message may make us allocate besides its own bytes. A two-byte field can ask for an
 * object of a hundred bytes; without these a message of the largest size could exhaust the heap.
 */
export const maxTensors = 4096;
export const maxParameters = 4096;
/** Dimensions of one tensor; NumPy's limit. */
export const maxRank = 64;

/** A caller's name as it may stand in a sentence: quoted, escaped, and cut at 100 characters. */
export function quoted(name: string): string {
  const text = JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);
  return `'${text.slice(1, -1)}'`;
}
