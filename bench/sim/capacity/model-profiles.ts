import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ShoalError } from '../../../core/errors.js';
import { linearProfile, measuredProfile } from '../profile.js';
import { type SimModel, simSpec } from '../rows.js';

/** Spread of execution times around the profile, as the standard deviation of their logarithm. */
const noise = 0.1;
const defaultMaxRows = 64;

const measuredModel = z.strictObject({
  model: z.string().min(1),
  max: z.int().min(1).max(1_000_000),
  points: z.array(z.strictObject({ rows: z.number().positive(), ms: z.number().positive() })).min(1),
});
const measuredFile = z.union([z.array(measuredModel).min(1), measuredModel.transform((one) => [one])]);

type Draft = Omit<SimModel, 'index'>;

/**
 * Models by name, of `--profile` texts: `big=9+0.4*rows,max=64` or the name of a JSON file.
 * @throws BAD_SETTING, BAD_TRACE
 */
export function readProfiles(texts: readonly string[]): ReadonlyMap<string, SimModel> {
  const models = new Map<string, SimModel>();
  for (const text of texts) {
    for (const draft of text.includes('=') ? [formula(text)] : measured(text)) {
      const { model } = draft.spec;
      if (models.has(model)) throw new ShoalError('BAD_SETTING', `--profile is given twice for model "${model}".`);
      models.set(model, { ...draft, index: models.size });
    }
  }
  return models;
}

function formula(text: string): Draft {
  const refuse = (): never => {
    throw new ShoalError(
      'BAD_SETTING',
      `--profile wants MODEL=MS+MS*rows,max=ROWS such as big=9+0.4*rows,max=64, or a file, and got "${text}".`,
    );
  };
  const [, model = '', sum = '', max = ''] = /^([^=]+)=([^,]+)(?:,max=(\d+))?$/.exec(text.replaceAll(' ', '')) ?? [];
  let fixedMs = 0;
  let perRowMs = 0;
  for (const term of sum.split('+')) {
    const [, number = '', perRow] = /^(\d+(?:\.\d+)?)(\*rows)?$/.exec(term) ?? [];
    if (number === '') return refuse();
    if (perRow === undefined) fixedMs += Number(number);
    else perRowMs += Number(number);
  }
  const maxRows = max === '' ? defaultMaxRows : Number(max);
  if (model === '' || fixedMs + perRowMs <= 0 || maxRows < 1) return refuse();
  return { spec: simSpec(model, maxRows), profile: linearProfile(fixedMs, perRowMs), noise };
}

function measured(file: string): readonly Draft[] {
  const text = readText('--profile', file);
  const refuse = (why: string): never => {
    throw new ShoalError('BAD_TRACE', `The profiles in ${file} cannot be used: ${why}.`);
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    return refuse(`it is not JSON (${thrown instanceof Error ? thrown.message : String(thrown)})`);
  }
  const parsed = measuredFile.safeParse(json);
  if (!parsed.success)
    return refuse('it wants {"model": …, "max": rows, "points": [{"rows": …, "ms": …}, …]}, or a list of such');
  return parsed.data.map(({ model, max, points }) => {
    const sorted = [...points].sort((a, b) => a.rows - b.rows);
    if (new Set(sorted.map(({ rows }) => rows)).size < sorted.length)
      refuse(`${model} has two points for the same rows`);
    return { spec: simSpec(model, max), profile: measuredProfile(sorted), noise };
  });
}

/** @throws BAD_TRACE, naming the option */
export function readText(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder' : `cannot be read (${code})`;
    throw new ShoalError('BAD_TRACE', `The file ${file} of ${option} ${why}.`, { cause });
  }
}
