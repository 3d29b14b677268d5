import { settingNames, settingSchema } from './schema.js';
import type { Role, Setting } from './setting.js';

const rule = `# Settings

<!-- Generated from platform/settings/schema.ts; a test compares. Mend with \`npx vitest run --project unit test/unit/settings -u\`. -->

One rule of naming: the setting \`grpc-port\` is the flag \`--grpc-port\`, the variable \`SHOAL_GRPC_PORT\`, and the
line \`grpc-port: 8001\` in the settings file. The first of these that is present counts:

1. the flag;
2. the variable (an empty one counts as absent);
3. the settings file: \`--config FILE\`, else \`SHOAL_CONFIG\`, else \`shoal.yaml\` in the working folder when there is one;
4. the default.

- \`shoal config\` prints the effective value of every setting and where it comes from.
- A name that is not known, in the file or as a \`SHOAL_*\` variable, is an error, with the closest name suggested. So is a
  bad value. Variables that Kubernetes makes for Services (\`SHOAL_SERVICE_HOST\`, \`SHOAL_GRPC_PORT=tcp://…\`) are ignored.
- Files and folders named in the settings file are meant from the folder of that file, others from the working folder.
- Lists are written with commas; in the file a YAML list does as well. Sizes are bytes, or like \`64MiB\`.
- Exit code 2 means a bad setting or a mistyped command.

`;

const escaped = (text: string): string => text.replaceAll('|', '\\|');

/** A Markdown table as the formatter leaves it: every column as wide as its widest cell. */
function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows].map((row) => row.map(escaped));
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`;
  const [first = [], ...rest] = all;
  return [line(first), line(widths.map((width) => '-'.repeat(width))), ...rest.map(line)].join('\n');
}

const roleText = (role: Role): string => (role === 'client' ? 'clients' : `\`${role}\``);

/** One default for all roles, or each with the roles it is for. */
function defaults(setting: Setting<unknown>): string {
  const roles = new Map<string, string[]>();
  for (const role of setting.roles) {
    const text = setting.defaultText(role);
    roles.set(text, [...(roles.get(text) ?? []), roleText(role)]);
  }
  const entries = [...roles];
  return entries.length === 1
    ? (entries[0]?.[0] ?? '')
    : entries.map(([text, names]) => `${text} (${names.join(', ')})`).join('; ');
}

/** The whole of docs/SETTINGS.md. */
export function settingsReference(): string {
  const rows = settingNames.map((name) => {
    const setting: Setting<unknown> = settingSchema[name];
    const used = setting.roles.map(roleText).join(', ');
    return [`\`${setting.flag}\``, setting.description, setting.expected, defaults(setting), used];
  });
  const example = [
    '',
    '## A settings file',
    '',
    '```yaml',
    '# shoal.yaml',
    'models: ./models',
    'devices: [gpu:0, cpu]',
    'grpc-port: 9001',
    'max-message-bytes: 64MiB',
    'log-level: warn',
    '```',
    '',
  ];
  const table = markdownTable(['setting', 'what it is', 'expected', 'default', 'used by'], rows);
  return `${rule}${[table, ...example].join('\n')}`;
}
