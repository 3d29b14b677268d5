import type { ShoalError } from '../../core/errors.js';
import { closestName, type MessageRules } from './config-schema.js';
import { errorAt, type TextField, type TextMessage, type TextPosition, type TextValue } from './text-proto.js';

/** Where a configuration is read from, and what there is to say about it besides errors. */
export interface ConfigReport {
  /** The file's name in errors and warnings, e.g. `mnist/config.pbtxt`. */
  readonly source: string;
  readonly warnings: string[];
}

const int32 = { least: -(2 ** 31), most: 2 ** 31 - 1 };

/** Reads one message against its rules. Everything that is not honoured is told about as soon as it is made. */
export class ConfigReader {
  readonly #message: TextMessage;
  readonly #rules: MessageRules;
  readonly #report: ConfigReport;
  readonly #path: string;
  readonly #mentions = new Map<string, TextField[]>();

  /**
   * `path` names the message in sentences, e.g. `input`; empty for the outermost.
   * @throws MODEL_UNLOADABLE for a field that is unknown, refused, or single and given twice
   */
  constructor(message: TextMessage, rules: MessageRules, report: ConfigReport, path = '') {
    this.#message = message;
    this.#rules = rules;
    this.#report = report;
    this.#path = path;
    for (const field of message.fields) this.#note(field);
  }

  #note(field: TextField): void {
    const rule = Object.hasOwn(this.#rules, field.name) ? this.#rules[field.name] : undefined;
    const where = this.#path === '' ? 'a model configuration' : `'${this.#path}'`;
    if (rule === undefined) {
      const closest = closestName(field.name, Object.keys(this.#rules));
      const hint = closest === undefined ? '' : ` Did you mean '${closest}'?`;
      throw this.fail(field.at, `${where} has no field '${field.name}'.${hint}`);
    }
    const path = this.#pathOf(field.name);
    if (rule.use === 'refused') {
      throw this.fail(field.at, `'${path}' is not supported: declare the shape that the model itself has.`);
    }
    if (rule.use === 'ignored') {
      this.warn(field.at, `'${path}' has no effect in Shoal.`);
      return;
    }
    const earlier = this.#mentions.get(field.name);
    if (earlier === undefined) this.#mentions.set(field.name, [field]);
    else if (rule.repeated) earlier.push(field);
    else throw this.fail(field.at, `'${path}' is given twice; it was given before at line ${earlier[0]?.at.line}.`);
    if (field.list && !rule.repeated) throw this.fail(field.at, `'${path}' takes one value, not a list.`);
  }

  #pathOf(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`;
  }

  #values(name: string): TextValue[] {
    return (this.#mentions.get(name) ?? []).flatMap((field) => field.values);
  }

  #wrong(name: string, value: TextValue, expected: string): ShoalError {
    const got = value.kind === 'message' ? 'a message' : value.kind === 'string' ? `"${value.text}"` : value.text;
    return this.fail(value.at, `'${this.#pathOf(name)}' must be ${expected}, got ${got}.`);
  }

  fail(at: TextPosition, sentence: string): ShoalError {
    return errorAt(this.#report.source, at, sentence);
  }

  warn(at: TextPosition, sentence: string): void {
    this.#report.warnings.push(`${this.#report.source}:${at.line}:${at.column}: ${sentence}`);
  }

  has(name: string): boolean {
    return this.#mentions.has(name);
  }

  /** Where the field is first mentioned; where its message begins when it is not. */
  at(name: string): TextPosition {
    return this.#mentions.get(name)?.[0]?.at ?? this.#message.at;
  }

  string(name: string): string | undefined {
    const value = this.#values(name)[0];
    if (value === undefined) return undefined;
    if (value.kind !== 'string') throw this.#wrong(name, value, 'a string in quotes');
    return value.text;
  }

  boolean(name: string): boolean | undefined {
    const value = this.#values(name)[0];
    if (value === undefined) return undefined;
    if (value.kind === 'word' && /^(?:true|True|t)$/.test(value.text)) return true;
    if (value.kind === 'word' && /^(?:false|False|f)$/.test(value.text)) return false;
    if (value.kind === 'number' && value.text === '1') return true;
    if (value.kind === 'number' && value.text === '0') return false;
    throw this.#wrong(name, value, 'true or false');
  }

  /** One of `names`, written without quotes as the text format wants enums. */
  choice<Name extends string>(name: string, names: readonly Name[]): Name | undefined {
    const value = this.#values(name)[0];
    if (value === undefined) return undefined;
    const chosen = value.kind === 'word' ? names.find((candidate) => candidate === value.text) : undefined;
    if (chosen !== undefined) return chosen;
    const closest = value.kind === 'word' || value.kind === 'string' ? closestName(value.text, names) : undefined;
    if (value.kind === 'string' && closest === value.text) throw this.#wrong(name, value, `${closest} without quotes`);
    throw this.#wrong(name, value, `one of ${names.join(', ')}${closest === undefined ? '' : ` (perhaps ${closest})`}`);
  }

  /** An integer that a JavaScript number holds exactly, within the bounds (by default those of int32). */
  integer(name: string, bounds: { least?: number; most?: number } = {}): number | undefined {
    return this.integers(name, bounds)[0];
  }

  integers(name: string, bounds: { least?: number; most?: number } = {}): number[] {
    const { least, most } = { ...int32, ...bounds };
    return this.#values(name).map((value) => {
      const number = value.kind === 'number' ? integerOf(value.text) : undefined;
      if (number === undefined) throw this.#wrong(name, value, 'an integer');
      if (number < least) throw this.#wrong(name, value, `at least ${least}`);
      if (number > most) throw this.#wrong(name, value, `at most ${most}`);
      return number;
    });
  }

  message(name: string): ConfigReader | undefined {
    return this.messages(name)[0];
  }

  messages(name: string): ConfigReader[] {
    return this.#values(name).map((value) => {
      if (value.kind !== 'message') throw this.#wrong(name, value, 'a message in braces');
      return new ConfigReader(value, this.#rules[name]?.message ?? {}, this.#report, this.#pathOf(name));
    });
  }

  /**
   * A map field's entries, by key.
   * @throws MODEL_UNLOADABLE for a key given twice
   */
  entries(name: string): Map<string, ConfigReader> {
    return new Map(this.#entries(name, (entry) => entry.string('key') ?? '').map(({ key, value }) => [key, value]));
  }

  /** The same for a map whose keys are integers, with each entry's reader, to fail at. */
  numberedEntries(name: string): { key: number; value: ConfigReader; entry: ConfigReader }[] {
    return this.#entries(name, (entry) => entry.integer('key', { least: 0 }) ?? 0);
  }

  #entries<Key>(
    name: string,
    keyOf: (entry: ConfigReader) => Key,
  ): { key: Key; value: ConfigReader; entry: ConfigReader }[] {
    const seen = new Set<Key>();
    return this.messages(name).map((entry) => {
      const key = keyOf(entry);
      const text = JSON.stringify(key);
      if (seen.has(key)) throw entry.fail(entry.at('key'), `'${this.#pathOf(name)}' has the key ${text} twice.`);
      seen.add(key);
      const value = entry.message('value');
      if (value === undefined) throw entry.fail(entry.at('key'), `'${this.#pathOf(name)}' has no value for ${text}.`);
      return { key, value, entry };
    });
  }
}

/** Decimal, 0x hexadecimal or 0 octal, as protobuf's text format spells integers; undefined for anything else. */
function integerOf(text: string): number | undefined {
  const negative = text.startsWith('-');
  const digits = negative ? text.slice(1) : text;
  const octal = /^0[0-7]+$/.test(digits);
  if (!octal && !/^(?:0[xX][0-9A-Fa-f]+|0|[1-9][0-9]*)$/.test(digits)) return undefined;
  const magnitude = Number(octal ? `0o${digits.slice(1)}` : digits);
  // -0 and 0 are one integer.
  return negative ? 0 - magnitude : magnitude;
}
