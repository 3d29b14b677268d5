import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ShoalError } from '../../../core/errors.js';
import { maxTextDepth, parseTextProto, type TextMessage } from '../../../worker/repository/text-proto.js';

const parse = (text: string): TextMessage => parseTextProto(text, 'f');

type Plain = [string, ...(string | Plain[])[]];
/** Names and values without positions, to compare shapes at a glance. */
const plain = (message: TextMessage): Plain[] =>
  message.fields.map((field) => [
    field.name,
    ...field.values.map((value) => (value.kind === 'message' ? plain(value) : value.text)),
  ]);

function failure(text: string): string {
  try {
    parse(text);
  } catch (thrown) {
    if (thrown instanceof ShoalError && thrown.code === 'MODEL_UNLOADABLE') return thrown.message;
    throw thrown;
  }
  return 'no failure';
}

describe('what the text format allows', () => {
  test.each([
    [
      'a: 1 b: 2',
      [
        ['a', '1'],
        ['b', '2'],
      ],
    ],
    [
      'a: 1, b: 2; c: 3',
      [
        ['a', '1'],
        ['b', '2'],
        ['c', '3'],
      ],
    ],
    ['a { b: 1 }', [['a', [['b', '1']]]]],
    ['a: { b: 1 }', [['a', [['b', '1']]]]],
    ['a < b: <> >', [['a', [['b', []]]]]],
    ['a: [1, -2, 0x1F]', [['a', '1', '-2', '0x1F']]],
    ['a: []', [['a']]],
    ['a [ { b: 1 }, { b: 2 } ]', [['a', [['b', '1']], [['b', '2']]]]],
    [
      'a: 1.5 b: -.5 c: 1e-3 d: 2.f e: -inf f: nan',
      [
        ['a', '1.5'],
        ['b', '-.5'],
        ['c', '1e-3'],
        ['d', '2.f'],
        ['e', '-inf'],
        ['f', 'nan'],
      ],
    ],
    ['a: - 1', [['a', '-1']]],
    [
      'a: TYPE_FP32 b: true',
      [
        ['a', 'TYPE_FP32'],
        ['b', 'true'],
      ],
    ],
    [
      'a: "x" \'y\'\n"z" # comment\n b: 1',
      [
        ['a', 'xyz'],
        ['b', '1'],
      ],
    ],
    ['# only a comment', []],
    ['\ufeffa: 1', [['a', '1']]],
    ['', []],
  ])('%s', (text, expected) => {
    expect(plain(parse(text))).toEqual(expected);
  });

  test('escapes are bytes of UTF-8', () => {
    const text = String.raw`a: "\n\t\"\'\\\101\x41\u00e7\U0001F600\303\247"`;
    expect(plain(parse(text))).toEqual([['a', '\n\t"\'\\AAç😀ç']]);
  });

  test('positions count lines and columns from 1', () => {
    const field = parse('a: 1\n# note\n  b {\n\tc: "x"\n}').fields[1];
    expect(field?.at).toEqual({ line: 3, column: 3 });
    const inner = field?.values[0];
    expect(inner?.kind === 'message' && inner.fields[0]?.at).toEqual({ line: 4, column: 2 });
  });
});

describe('what it does not', () => {
  test.each([
    ['a: ', "f:1:4: expected a value for field 'a', but the file ends."],
    ['a', "f:1:2: expected ':' after field 'a', but the file ends."],
    ['a 1', "f:1:3: expected ':' after field 'a', but found '1'."],
    ['dims [ 1 ]', "f:1:8: expected ':' after field 'dims', but found '1'."],
    ['\n\na {\n b: 1', "f:4:6: expected '}' to close the message opened at line 3, but the file ends."],
    ['a { b: 1 >', "f:1:10: expected a field name, but found '>'."],
    ['a: [1 2]', "f:1:7: expected ',' or ']' in the list of field 'a', but found '2'."],
    ['a: [1,]', "f:1:7: expected a value for field 'a', but found ']'."],
    ['a: "x', 'f:1:4: this string is not closed on its line.'],
    ['a: "x\n"', 'f:1:4: this string is not closed on its line.'],
    [String.raw`a: "\q"`, String.raw`f:1:6: '\q' is not an escape of the text format.`],
    [String.raw`a: "\xff"`, 'f:1:4: the escapes of this string do not make valid UTF-8.'],
    [String.raw`a: "\U00110000"`, 'f:1:15: this escape names no Unicode character.'],
    ['a: 12ab', "f:1:4: the number of field 'a' is malformed."],
    ['a: -b', "f:1:4: expected a number after '-' in field 'a', but found 'b'."],
    ['a: 1 } ', "f:1:6: expected a field name, but found '}'."],
    ['[ext]: 1', 'f:1:1: extensions and Any messages are not part of a model configuration.'],
    ['a: 1,, b: 2', "f:1:6: expected a field name, but found ','."],
  ])('%j', (text, expected) => {
    expect(failure(text)).toBe(expected);
  });

  test('nesting has a limit', () => {
    const nested = (depth: number): string => 'a{'.repeat(depth) + '}'.repeat(depth);
    expect(failure(nested(maxTextDepth))).toBe('no failure');
    expect(failure(nested(maxTextDepth + 1))).toContain(`nested deeper than ${maxTextDepth} levels`);
    expect(failure('a{'.repeat(1_000_000))).toContain('nested deeper');
  });
});

test('a printed message reads back the same', () => {
  const scalar = fc.oneof(
    fc.string({ unit: 'binary' }).map((text) => ({ written: quote(text), text })),
    fc.integer().map((number) => ({ written: String(number), text: String(number) })),
    fc.constantFrom('TYPE_FP32', 'true', 'KIND_GPU').map((word) => ({ written: word, text: word })),
  );
  const { message } = fc.letrec<{ message: { written: string; plain: Plain[] } }>((tie) => ({
    message: fc
      .array(
        fc.tuple(
          fc.constantFrom('name', 'dims', 'input', '_x9'),
          fc.oneof(
            { depthSize: 'small', withCrossShrink: true },
            fc.array(scalar, { minLength: 1, maxLength: 3 }),
            tie('message'),
          ),
          fc.constantFrom('', ',', ';', ' # note\n'),
        ),
        { maxLength: 4 },
      )
      .map((fields) => ({
        written: fields
          .map(([name, value, end]) =>
            Array.isArray(value)
              ? `${name}: ${value.length === 1 ? value[0]?.written : `[${value.map((one) => one.written).join(' , ')}]`}${end}`
              : `${name} {${value.written}}${end}`,
          )
          .join(' '),
        plain: fields.map(
          ([name, value]): Plain =>
            Array.isArray(value) ? [name, ...value.map((one) => one.text)] : [name, value.plain],
        ),
      })),
  }));
  fc.assert(
    fc.property(message, ({ written, plain: expected }) => {
      expect(plain(parse(written))).toEqual(expected);
    }),
  );
});

function quote(text: string): string {
  // Lone surrogates have no UTF-8; Buffer writes U+FFFD for them, so the oracle must as well.
  const escaped = [...Buffer.from(text)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  return `"${escaped}"`;
}

test('whatever the bytes, there is a message or a ShoalError', () => {
  const shard = fc.oneof(
    fc.constantFrom(
      'a',
      'name',
      ':',
      '{',
      '}',
      '<',
      '>',
      '[',
      ']',
      ',',
      ';',
      '"',
      "'",
      '\\',
      '\n',
      '#',
      '-',
      '0x',
      '1',
      '.',
      'e',
      'inf',
      ' ',
    ),
    fc.string({ unit: 'binary', maxLength: 3 }),
  );
  fc.assert(
    fc.property(fc.array(shard, { maxLength: 40 }), (shards) => {
      // `failure` rethrows anything that is not a ShoalError.
      expect(failure(shards.join(''))).toMatch(/^no failure$|^f:\d+:\d+: /);
    }),
    { numRuns: 3000 },
  );
});
