import { PNG } from 'pngjs';
import { ShoalError } from '../../core/errors.js';
import type { Image } from './file-tensor.js';

/** Larger than any model's input; keeps a bad header from asking for gigabytes. */
const maxPixels = 64 * 1024 * 1024;

/**
 * Reads a PNG as 8-bit RGB. Transparent parts become white, as on paper.
 * @throws BAD_FILE
 */
export function readPng(bytes: Uint8Array, label: string): Image {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < 24 || buffer.readUInt32BE(0) !== 0x89504e47) {
    throw new ShoalError('BAD_FILE', `${label} is not a PNG image.`);
  }
  const [width, height] = [buffer.readUInt32BE(16), buffer.readUInt32BE(20)];
  if (width * height > maxPixels) {
    throw new ShoalError('BAD_FILE', `${label} has ${width}×${height} pixels; expected ${maxPixels} at most.`);
  }
  let png: PNG;
  try {
    png = PNG.sync.read(buffer);
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new ShoalError('BAD_FILE', `${label} is a damaged PNG image: ${why}.`, { cause: thrown });
  }
  const rgb = new Uint8Array(png.width * png.height * 3);
  for (let pixel = 0; pixel < png.width * png.height; pixel++) {
    const alpha = (png.data[pixel * 4 + 3] ?? 255) / 255;
    for (let channel = 0; channel < 3; channel++) {
      rgb[pixel * 3 + channel] = Math.round((png.data[pixel * 4 + channel] ?? 0) * alpha + 255 * (1 - alpha));
    }
  }
  return { width: png.width, height: png.height, rgb };
}
