import type { ValueKind } from './value-kinds.js';

/** Which command a setting is for; `client` stands for the commands that talk to a running cluster. */
export type Role = 'up' | 'coordinator' | 'worker' | 'client';

/** What defaults may depend on; gathered once, so that compiling settings is pure. */
export interface SettingFacts {
  readonly role: Role;
  readonly workingFolder: string;
  readonly bundledModels: string;
  readonly hostName: string;
  /** First address of this machine that others can dial; a loopback address when it has none. */
  readonly address: string;
  readonly pid: number;
  /** A folder whose files live in memory where the system has one. */
  readonly memoryFolder: string;
}

interface SettingWords<T> {
  /** Name on the command line without dashes in front, and the key in YAML. */
  readonly flag: string;
  readonly kind: ValueKind<T>;
  /** Commands that take the flag. Variables and files are shared and may hold settings of any command. */
  readonly roles: readonly Role[];
  readonly description: string;
  readonly defaultValue: NoInfer<T> | ((facts: SettingFacts) => NoInfer<T>);
  /** The default in words, where it depends on facts: for all roles, or for each. */
  readonly defaultText?: string | Partial<Readonly<Record<Role, string>>>;
}

export interface Setting<T> {
  readonly flag: string;
  /** Environment variable. */
  readonly variable: string;
  readonly roles: readonly Role[];
  readonly description: string;
  readonly expected: string;
  readonly placeholder: string;
  readonly unit: string;
  /** The default in words. */
  defaultText(role: Role): string;
  /** The default as it is used, paths made absolute. */
  compiledDefault(facts: SettingFacts): T;
  /** Reads a written value; undefined when it is not acceptable. */
  compile(written: unknown, folder: string): { readonly value: T } | undefined;
  show(value: T): string;
}

/** The one rule of naming: `grpc-port` is `--grpc-port`, `SHOAL_GRPC_PORT`, and `grpc-port:` in YAML. */
export const variableOf = (flag: string): string => `SHOAL_${flag.replaceAll('-', '_').toUpperCase()}`;

export function setting<T>(words: SettingWords<T>): Setting<T> {
  const { kind, defaultValue } = words;
  const plainDefault = (facts: SettingFacts): T =>
    typeof defaultValue === 'function' ? (defaultValue as (facts: SettingFacts) => T)(facts) : defaultValue;
  const anchor = (value: T, folder: string): T => kind.from?.(value, folder) ?? value;
  return Object.freeze({
    flag: words.flag,
    variable: variableOf(words.flag),
    roles: words.roles,
    description: words.description,
    expected: kind.expected,
    placeholder: kind.placeholder,
    unit: kind.unit,
    defaultText: (role: Role) => {
      const { defaultText = typeof defaultValue === 'function' ? '' : kind.show(defaultValue) } = words;
      return typeof defaultText === 'string' ? defaultText : (defaultText[role] ?? '');
    },
    compiledDefault: (facts: SettingFacts) => anchor(plainDefault(facts), facts.workingFolder),
    compile: (written: unknown, folder: string) => {
      const read = kind.schema.safeParse(written);
      return read.success ? { value: anchor(read.data, folder) } : undefined;
    },
    show: kind.show,
  });
}
