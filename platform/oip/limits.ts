/**
 * Bounds on what one message may make us allocate besides its own bytes. A two-byte field can ask for an
 * object of a hundred bytes; without these a message of the largest size could exhaust the heap.
 */
export const maxTensors = 4096;
export const maxParameters = 4096;
/** Dimensions of one tensor; NumPy's limit. */
export const maxRank = 64;
