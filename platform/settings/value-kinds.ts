import path from 'node:path';
import { z } from 'zod';

/** What a setting may be written as: text from a flag or variable, anything YAML can hold from a file. */
export type WrittenValue = unknown;

/** How one sort of value is read, checked and explained. */
export interface ValueKind<T> {
  readonly schema: z.ZodType<T>;
  /** Completes the sentence "expected …". */
  readonly expected: string;
  /** The word that stands for the value in `--flag WORD`. */
  readonly placeholder: string;
  /** Unit of the compiled value; empty for text. */
  readonly unit: string;
  /** For people: `256 MiB` instead of 268435456. */
  readonly show: (value: T) => string;
  /** Files named in a YAML file are meant from that file's folder, others from the working directory. */
  readonly from?: (value: T, folder: string) => T;
}

const wholeNumber = z.union([
  z.number(),
  z
    .string()
    .trim()
    .regex(/^[+-]?\d{1,15}$/)
    .transform(Number),
]);

const oneLineText = z.union([z.string(), z.number().transform(String)]).pipe(
  z
    .string()
    .trim()
    .min(1)
    .regex(/^\P{Cc}*$/u),
);

/** A whole number between two bounds, both allowed. */
export function integer(min: number, max: number, unit = '', placeholder = 'N'): ValueKind<number> {
  return {
    schema: wholeNumber.pipe(z.number().int().min(min).max(max)),
    expected: `a whole number from ${min} to ${max}${unit === '' ? '' : ` (${unit})`}`,
    placeholder,
    unit,
    show: String,
  };
}

export const milliseconds = (min: number, max: number): ValueKind<number> => integer(min, max, 'milliseconds', 'MS');

/** A TCP port; 0 lets the operating system choose a free one. */
export const port: ValueKind<number> = {
  ...integer(0, 65_535, '', 'PORT'),
  expected: 'a port from 0 to 65535 (0: any free port)',
};

const byteUnits: Readonly<Record<string, number>> = { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

export function showBytes(bytes: number): string {
  for (const unit of ['GiB', 'MiB', 'KiB']) {
    const size = byteUnits[unit] ?? 1;
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${unit}`;
  }
  return `${bytes}`;
}

/** A number of bytes: `1048576`, `1024KiB` or `1 MiB`. */
export function bytes(min: number, max: number): ValueKind<number> {
  const sized = z
    .string()
    .trim()
    .regex(/^\d{1,15} ?(B|KiB|MiB|GiB)?$/)
    .transform((text) => Number.parseInt(text, 10) * (byteUnits[text.replace(/[\d ]/g, '')] ?? 1));
  return {
    schema: z.union([z.number(), sized]).pipe(z.number().int().min(min).max(max)),
    expected: `a size from ${showBytes(min)} to ${showBytes(max)}, in bytes or like 64MiB`,
    placeholder: 'BYTES',
    unit: 'bytes',
    show: showBytes,
  };
}

export function choice<const T extends readonly [string, ...string[]]>(
  placeholder: string,
  ...values: T
): ValueKind<T[number]> {
  return {
    schema: z.enum(values) as z.ZodType<T[number]>,
    expected: `one of ${values.join(', ')}`,
    placeholder,
    unit: '',
    show: (value) => value,
  };
}

export function text(expected: string, placeholder: string, pattern = /./): ValueKind<string> {
  return {
    schema: oneLineText.pipe(z.string().regex(pattern)),
    expected,
    placeholder,
    unit: '',
    show: (value) => value,
  };
}

/** A file or folder, compiled to an absolute path. */
export function file(expected: string, placeholder: string): ValueKind<string> {
  return { ...text(expected, placeholder), from: (value, folder) => path.resolve(folder, value) };
}

/** A list: commas in flags and variables, a sequence or commas in YAML. */
export function list(item: ValueKind<string>, expected: string): ValueKind<readonly string[]> {
  const entries = z.array(item.schema as z.ZodType<string, string>);
  const items = z.union([
    entries,
    z
      .string()
      .transform((written) => written.split(',').filter((part) => part.trim() !== ''))
      .pipe(entries),
  ]);
  return {
    schema: items,
    expected,
    placeholder: item.placeholder,
    unit: '',
    show: (value) => value.join(','),
  };
}

/** Names with a number each: `a=2,b=0.5` in flags and variables, also a mapping in YAML. */
export function amounts(number: z.ZodType<number>, expected: string): ValueKind<Readonly<Record<string, number>>> {
  const entries = z.record(z.string().regex(/^[^=,]+$/), number) as z.ZodType<
    Readonly<Record<string, number>>,
    Readonly<Record<string, number>>
  >;
  const written = z
    .string()
    .transform((line) =>
      line
        .split(',')
        .filter((part) => part.trim() !== '')
        .map((part) => {
          const at = part.lastIndexOf('=');
          return [part.slice(0, Math.max(0, at)).trim(), Number(part.slice(at + 1).trim() || Number.NaN)] as const;
        }),
    )
    .transform((pairs) => Object.fromEntries(pairs))
    .pipe(entries);
  return {
    schema: z.union([entries, written]),
    expected,
    placeholder: 'NAME=N',
    unit: '',
    show: (value) =>
      Object.entries(value)
        .map(([name, amount]) => `${name}=${amount}`)
        .join(','),
  };
}

const hostPattern = String.raw`(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])`;

/** `HOST:PORT`; IPv6 addresses in brackets. */
export const hostAndPort: ValueKind<string> = {
  ...text('HOST:PORT, for example 10.0.0.5:8001', 'HOST:PORT'),
  schema: oneLineText.pipe(
    z
      .string()
      .regex(new RegExp(`^${hostPattern}:\\d{1,5}$`))
      .refine((address) => {
        const portNumber = Number(address.slice(address.lastIndexOf(':') + 1));
        return portNumber >= 1 && portNumber <= 65_535;
      }),
  ),
};
