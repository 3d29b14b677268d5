import type { Random } from '../../../core/random.js';
import { rawFrame } from './raw-peer.js';

// Bytes gone wrong, for both sides of a connection.

/** Frames with a few bytes changed, lost, doubled or put in between. */
export function mutated(frames: readonly Buffer[], random: Random): Buffer {
  let bytes = Buffer.concat(frames);
  const spots = [0];
  for (const frame of frames) spots.push((spots.at(-1) ?? 0) + frame.length);
  for (let i = random.int(5); i >= 0; i--) {
    // Mostly at or just after a frame's start, where the structure is.
    const start = spots[random.int(spots.length)] ?? 0;
    const at = Math.min(bytes.length, random.next() < 0.7 ? start + random.int(12) : random.int(bytes.length + 1));
    switch (random.int(6)) {
      case 0:
        if (at < bytes.length) bytes[at] = random.int(256);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3: {
        const noise = Buffer.from(Array.from({ length: random.int(20) }, () => random.int(256)));
        bytes = Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)]);
        break;
      }
      case 4: {
        const other = frames[random.int(frames.length)] ?? nothing;
        bytes = Buffer.concat([bytes.subarray(0, at), other, bytes.subarray(at)]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + random.int(12)))]);
    }
  }
  return bytes;
}

const nothing = Buffer.alloc(0);

/** Only noise, or frames of noise. */
export function noise(random: Random): Buffer {
  const some = (most: number): Buffer => Buffer.from(Array.from({ length: random.int(most) }, () => random.int(256)));
  if (random.next() < 0.3) return some(400);
  return Buffer.concat(
    Array.from({ length: 1 + random.int(12) }, () =>
      rawFrame(random.int(11), random.int(256), random.int(6), some(60)),
    ),
  );
}
