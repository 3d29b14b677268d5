import type { ShoalError } from '../../core/errors.js';
import type { ConfigReader } from './config-reader.js';
import { closestName, honouredParameters, ignoredParameters } from './config-schema.js';

/** The entries of `parameters`, by key. */
export type ConfigParameters = ReadonlyMap<string, ConfigReader>;

export function warnOfParameters(parameters: ConfigParameters): void {
  const honoured: readonly string[] = honouredParameters;
  const known: readonly string[] = ignoredParameters;
  for (const [key, reader] of parameters) {
    if (honoured.includes(key)) continue;
    const closest = known.includes(key) ? undefined : closestName(key, honoured);
    const hint = closest === undefined ? '' : ` Did you mean '${closest}'?`;
    reader.warn(reader.at('string_value'), `the parameter '${key}' has no effect in Shoal.${hint}`);
  }
}

/** Undefined when the key is absent; empty when its `string_value` is. */
export function parameterText(parameters: ConfigParameters, key: string): string | undefined {
  const reader = parameters.get(key);
  return reader === undefined ? undefined : (reader.string('string_value') ?? '');
}

/** A failure at the value of a parameter that is there: "the parameter 'k' `expectation`, got "v"." */
export function badParameter(parameters: ConfigParameters, key: string, expectation: string): ShoalError {
  const reader = parameters.get(key);
  if (reader === undefined)
    throw new Error(`invariant broken: only a parameter that is given can be wrong, not ${key}`);
  const got = reader.string('string_value') ?? '';
  return reader.fail(reader.at('string_value'), `the parameter '${key}' ${expectation}, got "${got}".`);
}

export function warnOfParameter(parameters: ConfigParameters, key: string, sentence: string): void {
  const reader = parameters.get(key);
  reader?.warn(reader.at('string_value'), `the parameter '${key}' ${sentence}.`);
}

export function parameterChoice<Name extends string>(
  parameters: ConfigParameters,
  key: string,
  names: readonly Name[],
): Name | undefined {
  const text = parameterText(parameters, key);
  if (text === undefined) return undefined;
  const chosen = names.find((name) => name === text);
  if (chosen === undefined) throw badParameter(parameters, key, `must be one of ${names.join(', ')}`);
  return chosen;
}

/** Integers from 1 to 2147483647 with commas between, each larger than the one before; undefined when the key is absent. */
export function parameterSizes(parameters: ConfigParameters, key: string): number[] | undefined {
  const text = parameterText(parameters, key);
  if (text === undefined) return undefined;
  const words = text.split(',').map((word) => word.trim());
  const sizes = words.map(Number);
  const isRising = sizes.every((size, i) => size > (sizes[i - 1] ?? 0) && size < 2 ** 31);
  if (!isRising || !words.every((word) => /^[0-9]+$/.test(word))) {
    throw badParameter(parameters, key, 'must be ascending integers with commas between, such as "8,64"');
  }
  return sizes;
}
