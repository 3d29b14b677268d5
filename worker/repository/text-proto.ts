import { ShoalError } from '../../core/errors.js';

/** Both count from 1; a column is a UTF-16 code unit. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** A value before anyone knew its type: numbers keep their spelling, `word` is an enum name, `true` or `false`. */
export type TextScalar =
  | { readonly kind: 'string'; readonly text: string; readonly at: TextPosition }
  | { readonly kind: 'number'; readonly text: string; readonly at: TextPosition }
  | { readonly kind: 'word'; readonly text: string; readonly at: TextPosition };

export interface TextMessage {
  readonly kind: 'message';
  readonly fields: readonly TextField[];
  readonly at: TextPosition;
}

export type TextValue = TextScalar | TextMessage;

/** One mention of a field. `list` tells `f: [1]` from `f: 1`; a field may be mentioned several times. */
export interface TextField {
  readonly name: string;
  readonly at: TextPosition;
  readonly list: boolean;
  readonly values: readonly TextValue[];
}

/** Deepest nesting of messages; protobuf's own parsers stop at 100. */
export const maxTextDepth = 64;

/** A failure at a place of a configuration file, e.g. `mnist/config.pbtxt:3:14: …`. */
export function errorAt(source: string, at: TextPosition, sentence: string): ShoalError {
  return new ShoalError('MODEL_UNLOADABLE', `${source}:${at.line}:${at.column}: ${sentence}`);
}

/**
 * Parses the text format of protocol buffers (https://protobuf.dev/reference/protobuf/textformat-spec/) as far as
 * Triton's config.pbtxt uses it: no extensions, no `Any`. Knows no schema: types are checked by whoever reads.
 * `source` names the file in errors.
 * @throws MODEL_UNLOADABLE with line and column
 */
export function parseTextProto(text: string, source: string): TextMessage {
  return new TextProtoParser(text, source).parse();
}

const simpleEscapes: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  "'": 39,
  '"': 34,
  '?': 63,
};
const blank = /(?:[ \t\r\n\f\v]+|#[^\n]*)+/y;
const identifier = /[A-Za-z_][A-Za-z0-9_]*/y;
const numeral = /0[xX][0-9A-Fa-f]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?/y;
const octalEscape = /[0-7]{1,3}/y;
const hexEscape = /[xX]([0-9A-Fa-f]{1,2})/y;
const unicodeEscape = /u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})/y;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class TextProtoParser {
  readonly #text: string;
  readonly #source: string;
  #offset = 0;
  #line = 1;
  #lineStart = 0;

  constructor(text: string, source: string) {
    this.#text = text;
    this.#source = source;
    if (text.startsWith('\ufeff')) {
      this.#offset = 1;
      this.#lineStart = 1;
    }
  }

  parse(): TextMessage {
    this.#skipBlanks();
    return this.#fields(this.#here(), undefined, 0);
  }

  #here(): TextPosition {
    return { line: this.#line, column: this.#offset - this.#lineStart + 1 };
  }

  #fail(sentence: string, at: TextPosition = this.#here()): ShoalError {
    return errorAt(this.#source, at, sentence);
  }

  /** What stands at the cursor, for error messages. */
  #found(): string {
    const rest = this.#text.slice(this.#offset, this.#offset + 40);
    if (rest === '') return 'the file ends';
    const word = /^[A-Za-z0-9_.+-]+/.exec(rest)?.[0];
    return `found '${word ?? String.fromCodePoint(rest.codePointAt(0) ?? 0)}'`;
  }

  #peek(): string {
    return this.#text[this.#offset] ?? '';
  }

  #skipBlanks(): void {
    const skipped = this.#match(blank)?.[0];
    if (skipped === undefined) return;
    const start = this.#offset - skipped.length;
    for (let at = skipped.indexOf('\n'); at >= 0; at = skipped.indexOf('\n', at + 1)) {
      this.#line++;
      this.#lineStart = start + at + 1;
    }
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#offset;
    const match = pattern.exec(this.#text) ?? undefined;
    if (match !== undefined) this.#offset += match[0].length;
    return match;
  }

  /** Consumes the character and the blanks after it, if it is there. */
  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#offset++;
    this.#skipBlanks();
    return true;
  }

  #fields(at: TextPosition, closing: string | undefined, depth: number): TextMessage {
    const fields: TextField[] = [];
    for (;;) {
      if (closing === undefined ? this.#offset >= this.#text.length : this.#take(closing)) break;
      if (this.#offset >= this.#text.length) {
        throw this.#fail(`expected '${closing}' to close the message opened at line ${at.line}, but the file ends.`);
      }
      fields.push(this.#field(depth));
      if (!this.#take(',')) this.#take(';');
    }
    return { kind: 'message', fields, at };
  }

  #field(depth: number): TextField {
    const at = this.#here();
    if (this.#peek() === '[') throw this.#fail('extensions and Any messages are not part of a model configuration.');
    const name = this.#match(identifier)?.[0];
    if (name === undefined) throw this.#fail(`expected a field name, but ${this.#found()}.`);
    this.#skipBlanks();
    const colon = this.#take(':');
    if (this.#take('[')) return { name, at, list: true, values: this.#list(name, colon, depth) };
    return { name, at, list: false, values: [this.#value(name, colon, depth)] };
  }

  #list(name: string, colon: boolean, depth: number): TextValue[] {
    const values: TextValue[] = [];
    if (this.#take(']')) return values;
    for (;;) {
      values.push(this.#value(name, colon, depth));
      if (this.#take(']')) return values;
      if (!this.#take(','))
        throw this.#fail(`expected ',' or ']' in the list of field '${name}', but ${this.#found()}.`);
    }
  }

  #value(name: string, colon: boolean, depth: number): TextValue {
    const at = this.#here();
    const opening = this.#peek();
    if (opening === '{' || opening === '<') {
      if (depth >= maxTextDepth) throw this.#fail(`messages are nested deeper than ${maxTextDepth} levels.`);
      this.#take(opening);
      return this.#fields(at, opening === '{' ? '}' : '>', depth + 1);
    }
    if (!colon) throw this.#fail(`expected ':' after field '${name}', but ${this.#found()}.`);
    if (opening === '"' || opening === "'") return { kind: 'string', text: this.#strings(), at };
    const negative = this.#take('-');
    const number = this.#match(numeral)?.[0];
    if (number !== undefined) {
      if (/[A-Za-z0-9_.]/.test(this.#peek())) throw this.#fail(`the number of field '${name}' is malformed.`, at);
      this.#skipBlanks();
      return { kind: 'number', text: negative ? `-${number}` : number, at };
    }
    const word = this.#match(identifier)?.[0];
    this.#skipBlanks();
    if (word !== undefined && negative) {
      if (/^(?:inf|infinity|nan)f?$/i.test(word)) return { kind: 'number', text: `-${word}`, at };
      throw this.#fail(`expected a number after '-' in field '${name}', but found '${word}'.`, at);
    }
    if (word !== undefined) return { kind: 'word', text: word, at };
    throw this.#fail(`expected a value for field '${name}', but ${this.#found()}.`);
  }

  /** One or more adjacent literals, joined. Escapes stand for bytes; the whole must be UTF-8. */
  #strings(): string {
    const at = this.#here();
    const bytes: Buffer[] = [];
    for (let quote = this.#peek(); quote === '"' || quote === "'"; quote = this.#peek()) {
      this.#offset++;
      this.#literal(quote, at, bytes);
      this.#skipBlanks();
    }
    try {
      return utf8.decode(Buffer.concat(bytes));
    } catch {
      // The decoder's own message ("encoded data was not valid") adds nothing to this one.
      throw this.#fail('the escapes of this string do not make valid UTF-8.', at);
    }
  }

  #literal(quote: string, at: TextPosition, bytes: Buffer[]): void {
    for (let start = this.#offset; ; ) {
      const character = this.#peek();
      if (character === '' || character === '\n') throw this.#fail('this string is not closed on its line.', at);
      if (character !== quote && character !== '\\') {
        this.#offset++;
        continue;
      }
      bytes.push(Buffer.from(this.#text.slice(start, this.#offset)));
      this.#offset++;
      if (character === quote) return;
      bytes.push(this.#escape());
      start = this.#offset;
    }
  }

  #escape(): Buffer {
    const octal = this.#match(octalEscape)?.[0];
    if (octal !== undefined) return Buffer.of(Number.parseInt(octal, 8) & 0xff);
    const hex = this.#match(hexEscape)?.[1];
    if (hex !== undefined) return Buffer.of(Number.parseInt(hex, 16));
    const unicode = this.#match(unicodeEscape);
    if (unicode !== undefined) {
      const point = Number.parseInt(unicode[1] ?? unicode[2] ?? '', 16);
      if (point > 0x10ffff) throw this.#fail('this escape names no Unicode character.');
      return Buffer.from(String.fromCodePoint(point));
    }
    const simple = simpleEscapes[this.#peek()];
    if (simple === undefined) throw this.#fail(`'\\${this.#peek()}' is not an escape of the text format.`);
    this.#offset++;
    return Buffer.of(simple);
  }
}
