import { ShoalError } from '../../core/errors.js';
import { shapeText, type TensorSpec } from '../../core/tensor.js';
import type { FileTensor, Image } from './file-tensor.js';

export interface ImageOptions {
  /** Samples, 0–255, are multiplied by this; undefined: by 1/255 for floating-point inputs, by 1 for others. */
  readonly scale: number | undefined;
  /** Black becomes white and white black. */
  readonly invert: boolean;
}

interface Layout {
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  /** Channels come before rows (NCHW) or after columns (NHWC). */
  readonly order: 'channels-first' | 'channels-last';
  readonly shape: readonly number[];
}

const isChannels = (dim: number | undefined): dim is 1 | 3 => dim === 1 || dim === 3;

/**
 * How an input of this shape holds one image; undefined when it holds none. A free height or width is the image's own.
 * Where a shape can be read in two ways, the way that leaves the image its size wins.
 */
function layoutFor(shape: readonly number[], image: Image): Layout | undefined {
  const [a, b, c, d] = shape;
  const batched = a === 1 || a === -1;
  const found: Layout[] = [];
  const add = (lead: readonly number[], channels: 1 | 3, rows = -1, columns = -1, order?: Layout['order']): void => {
    const height = rows === -1 ? image.height : rows;
    const width = columns === -1 ? image.width : columns;
    const tail = order === 'channels-last' ? [height, width, channels] : [height, width];
    const first = order === 'channels-first' ? [channels] : [];
    found.push({ channels, height, width, order: order ?? 'channels-first', shape: [...lead, ...first, ...tail] });
  };
  if (shape.length === 4 && batched && isChannels(b)) add([1], b, c, d, 'channels-first');
  if (shape.length === 4 && batched && isChannels(d)) add([1], d, b, c, 'channels-last');
  if (shape.length === 3 && isChannels(a)) add([], a, b, c, 'channels-first');
  if (shape.length === 3 && isChannels(c)) add([], c, a, b, 'channels-last');
  if (shape.length === 3 && a === -1) add([1], 1, b, c);
  if (shape.length === 2 && batched && b === image.width * image.height) {
    return { channels: 1, height: image.height, width: image.width, order: 'channels-first', shape: [1, b] };
  }
  return found.find(({ height, width }) => height === image.height && width === image.width) ?? found[0];
}

/**
 * Lays an image out as a model's input. Colour becomes luma (ITU-R BT.601) for one channel; another size is
 * fitted by averaging areas or interpolating.
 * @returns the tensor and what was done to the image, in words.
 * @throws BAD_FILE when the input is not one an image fits.
 */
export function imageTensor(
  image: Image,
  spec: TensorSpec,
  options: ImageOptions,
  label: string,
): { readonly tensor: FileTensor; readonly notes: readonly string[] } {
  const layout = layoutFor(spec.shape, image);
  if (layout === undefined || spec.datatype === 'BYTES' || spec.datatype === 'BOOL') {
    throw new ShoalError(
      'BAD_FILE',
      `${label} is an image; input ${spec.name} takes ${spec.datatype} ${shapeText(spec.shape)}, which holds none.`,
    );
  }
  const notes: string[] = [];
  let planes = splitChannels(image, layout.channels);
  if (layout.height !== image.height || layout.width !== image.width) {
    notes.push(`resized from ${image.width}×${image.height} to ${layout.width}×${layout.height}`);
    planes = planes.map((plane) => resample(plane, image.width, image.height, layout.width, layout.height));
  }
  const isFloat = spec.datatype.includes('FP') || spec.datatype === 'BF16';
  const scale = options.scale ?? (isFloat ? 1 / 255 : 1);
  const finish = (value: number): number => {
    const scaled = (options.invert ? 255 - value : value) * scale;
    return isFloat ? scaled : Math.round(scaled);
  };
  const elements: number[] = [];
  const pixels = layout.width * layout.height;
  if (layout.order === 'channels-first')
    for (const plane of planes) for (const value of plane) elements.push(finish(value));
  else for (let i = 0; i < pixels; i++) for (const plane of planes) elements.push(finish(plane[i] ?? 0));
  if (layout.channels === 1 && !isGray(image)) notes.push('turned to shades of gray');
  if (options.invert) notes.push('inverted');
  if (scale !== 1)
    notes.push(`values ${rangeText(0)}–${rangeText(255)} sent as ${rangeText(0)}–${rangeText(255 * scale)}`);
  return { tensor: { name: '', shape: layout.shape, content: { kind: 'values', elements } }, notes };
}

const rangeText = (value: number): string => String(Number(value.toPrecision(3)));

const isGray = ({ rgb }: Image): boolean => {
  for (let i = 0; i < rgb.length; i += 3) if (rgb[i] !== rgb[i + 1] || rgb[i] !== rgb[i + 2]) return false;
  return true;
};

function splitChannels({ width, height, rgb }: Image, channels: 1 | 3): Float32Array[] {
  const planes = Array.from({ length: channels }, () => new Float32Array(width * height));
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [rgb[i * 3] ?? 0, rgb[i * 3 + 1] ?? 0, rgb[i * 3 + 2] ?? 0];
    const luma = r === g && g === b ? r : 0.299 * r + 0.587 * g + 0.114 * b;
    const values = channels === 1 ? [luma] : [r, g, b];
    for (const [channel, plane] of planes.entries()) plane[i] = values[channel] ?? 0;
  }
  return planes;
}

/** Weights of source samples for one target sample: a triangle as wide as the larger of the two pixel sizes. */
function weights(target: number, targetSize: number, sourceSize: number): [index: number, weight: number][] {
  const ratio = sourceSize / targetSize;
  const reach = Math.max(1, ratio);
  const centre = (target + 0.5) * ratio - 0.5;
  const found: [number, number][] = [];
  let sum = 0;
  for (let source = Math.ceil(centre - reach); source <= Math.floor(centre + reach); source++) {
    const weight = 1 - Math.abs(source - centre) / reach;
    if (weight <= 0) continue;
    found.push([Math.min(sourceSize - 1, Math.max(0, source)), weight]);
    sum += weight;
  }
  return found.map(([index, weight]) => [index, weight / sum]);
}

/** Bilinear when enlarging, area-averaging (a widened triangle) when shrinking, so that thin strokes survive. */
export function resample(
  plane: Float32Array,
  width: number,
  height: number,
  toWidth: number,
  toHeight: number,
): Float32Array {
  const columns = Array.from({ length: toWidth }, (_, x) => weights(x, toWidth, width));
  const narrowed = new Float32Array(toWidth * height);
  for (let y = 0; y < height; y++) {
    for (const [x, column] of columns.entries()) {
      let sum = 0;
      for (const [source, weight] of column) sum += (plane[y * width + source] ?? 0) * weight;
      narrowed[y * toWidth + x] = sum;
    }
  }
  const result = new Float32Array(toWidth * toHeight);
  for (let y = 0; y < toHeight; y++) {
    const row = weights(y, toHeight, height);
    for (let x = 0; x < toWidth; x++) {
      let sum = 0;
      for (const [source, weight] of row) sum += (narrowed[source * toWidth + x] ?? 0) * weight;
      result[y * toWidth + x] = sum;
    }
  }
  return result;
}
