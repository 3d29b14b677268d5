import { ShoalError } from '../core/errors.js';
import type { Load } from './plan.js';

function refuse(why: string): never {
  throw new ShoalError('BAD_SETTING', why);
}

/** @throws BAD_SETTING when `text` is not a number within the bounds, both included */
export function parseNumber(setting: string, text: string, least: number, most: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!(value >= least && value <= most)) {
    return refuse(`${setting} wants a number from ${least} to ${most}, and got "${text}".`);
  }
  return value;
}

/** @throws BAD_SETTING when `text` is not a whole number within the bounds, both included */
export function parseCount(setting: string, text: string, least = 1, most = 1_000_000): number {
  const value = parseNumber(setting, text, least, most);
  if (!Number.isInteger(value)) return refuse(`${setting} wants a whole number, and got "${text}".`);
  return value;
}

/** The loads of `--concurrency 1,8,64` or `--rate 100,1000`; one request in flight when neither is given. */
export function parseLoads(concurrency: string | undefined, rate: string | undefined): readonly Load[] {
  if (concurrency !== undefined && rate !== undefined) {
    return refuse(
      '--concurrency (closed loop) and --rate (open loop) exclude each other; run them one after the other.',
    );
  }
  if (rate !== undefined) {
    return rate.split(',').map((part) => ({ kind: 'open', ratePerS: parseNumber('--rate', part, 0.001, 10_000_000) }));
  }
  return (concurrency ?? '1')
    .split(',')
    .map((part) => ({ kind: 'closed', concurrency: parseCount('--concurrency', part) }));
}

/** @throws BAD_SETTING when `text` is none of `choices` */
export function oneOf<T extends string>(setting: string, text: string, choices: readonly T[]): T {
  return (
    choices.find((choice) => choice === text) ?? refuse(`${setting} wants ${choices.join(' or ')}, and got "${text}".`)
  );
}

/** `name:1x3x224`, or several to be used in turn: `name:1x64/1x128`; a scalar is `name:`. */
export function parseShape(text: string): readonly [name: string, shapes: readonly (readonly number[])[]] {
  const at = text.lastIndexOf(':');
  if (at <= 0) return refuse(`--shape wants name:1x3x224, and got "${text}".`);
  const shapes = text
    .slice(at + 1)
    .split('/')
    .map((dims) => (dims === '' ? [] : dims.split('x').map((dim) => parseCount('--shape', dim, 0, 1e9))));
  return [text.slice(0, at), shapes];
}

/**
 * The shapes of all inputs, one map for each that is used in turn. An input with a single shape has it in all of them.
 * @throws BAD_SETTING when inputs have different numbers of shapes
 */
export function parseShapes(texts: readonly string[]): readonly ReadonlyMap<string, readonly number[]>[] {
  const inputs = texts.map(parseShape);
  const turns = Math.max(1, ...inputs.map(([, shapes]) => shapes.length));
  for (const [name, shapes] of inputs) {
    if (shapes.length !== 1 && shapes.length !== turns) {
      refuse(`--shape gives input "${name}" ${shapes.length} shapes and another ${turns}; they are used together.`);
    }
  }
  return Array.from(
    { length: turns },
    (_, turn) => new Map(inputs.map(([name, shapes]) => [name, shapes[turn] ?? shapes[0] ?? []])),
  );
}

/** `name:FILE`. */
export function parseInputFile(text: string): readonly [string, string] {
  const at = text.indexOf(':');
  if (at <= 0 || at === text.length - 1) return refuse(`--input wants name:FILE.npy, and got "${text}".`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** A list as `taskset -c` takes it. */
export function parseCpus(setting: string, text: string): string {
  if (text !== '' && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) {
    return refuse(`${setting} wants a list of cores such as 1 or 0-3 or 1,3, and got "${text}".`);
  }
  return text;
}

/** A request header: `name=value`. */
export function parseMetadata(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  const [name, value] = [text.slice(0, at).toLowerCase(), text.slice(at + 1)];
  // What gRPC calls ASCII metadata; `-bin` would be base64, and `grpc-` is its own.
  if (at <= 0 || !/^(?!grpc-)[0-9a-z_.-]+(?<!-bin)$/.test(name) || !/^[ -~]*$/.test(value)) {
    return refuse(`--metadata wants name=value in printable ASCII, and got "${text}".`);
  }
  return [name, value];
}

/** @throws BAD_SETTING for what cannot stand in a header */
export function parseCaller(text: string): string {
  return /^[!-~]{1,128}$/.test(text) ? text : refuse(`--caller wants a name in printable ASCII, and got "${text}".`);
}
