import {
  badParameter,
  type ConfigParameters,
  parameterSizes,
  parameterText,
  warnOfParameter,
} from './config-parameters.js';
import type { DeclaredBuckets, DeclaredSequenceAxis } from './version-plan.js';

/**
 * The parameters `sequence_buckets` and `sequence_axes`, as far as they can be understood without the model.
 * @throws MODEL_UNLOADABLE when one is given without the other, or cannot be read
 */
export function readBuckets(
  parameters: ConfigParameters,
  maxBatchSize: number | undefined,
): DeclaredBuckets | undefined {
  const lengths = parameterSizes(parameters, 'sequence_buckets');
  const axes = readAxes(parameters);
  if (lengths === undefined && axes === undefined) return undefined;
  if (axes === undefined) throw badParameter(parameters, 'sequence_buckets', "needs the parameter 'sequence_axes' too");
  if (lengths === undefined) {
    throw badParameter(parameters, 'sequence_axes', "needs the parameter 'sequence_buckets' too");
  }
  if (maxBatchSize === 0) {
    warnOfParameter(parameters, 'sequence_buckets', 'has no effect because max_batch_size is 0');
    return undefined;
  }
  return { lengths, axes };
}

/** A name may hold colons and equal signs, as those of exported models do; a comma it may not. */
const entryPattern = /^(.+):([0-9]{1,3})(?:=([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))?$/;

function readAxes(parameters: ConfigParameters): DeclaredSequenceAxis[] | undefined {
  const key = 'sequence_axes';
  const text = parameterText(parameters, key);
  if (text === undefined) return undefined;
  const axes: DeclaredSequenceAxis[] = [];
  for (const word of text.split(',')) {
    const match = entryPattern.exec(word.trim());
    if (match === null) {
      throw badParameter(
        parameters,
        key,
        'must be entries INPUT:AXIS=PAD or OUTPUT:AXIS with commas between, such as "ids:1=0,logits:1"',
      );
    }
    const [, tensor = '', axisText, padText] = match;
    const axis = Number(axisText);
    if (axis === 0) throw badParameter(parameters, key, `cannot name axis 0 of '${tensor}', which counts rows`);
    if (axes.some((other) => other.tensor === tensor && other.axis === axis)) {
      throw badParameter(parameters, key, `must name axis ${axis} of '${tensor}' once`);
    }
    axes.push({ tensor, axis, padValue: padText === undefined ? undefined : Number(padText) });
  }
  if (axes.every(({ padValue }) => padValue === undefined)) {
    throw badParameter(parameters, key, 'must name at least one input with what it is padded with, as in "ids:1=0"');
  }
  return axes;
}
