import type { Command } from 'commander';
import { buildProgram, type Services } from './program.js';

const columns = 110;

/** Nothing is started when only help is asked for. */
const noServices: Services = {
  startCluster: () => Promise.reject(new Error('help starts nothing')),
  startCoordinatorAlone: () => Promise.reject(new Error('help starts nothing')),
  startWorkerAlone: () => Promise.reject(new Error('help starts nothing')),
};

/** The help of every command as it is printed. */
export function helpTexts(): readonly { readonly command: string; readonly help: string }[] {
  let written = '';
  const program = buildProgram(noServices, {
    writeOut: (text) => {
      written += text;
    },
    getOutHelpWidth: () => columns,
    getOutHasColors: () => false,
  });
  const helpOf = (command: Command): string => {
    written = '';
    command.outputHelp();
    return written.trim();
  };
  return [
    { command: 'shoal', help: helpOf(program) },
    ...program.commands.map((command) => ({ command: `shoal ${command.name()}`, help: helpOf(command) })),
  ];
}

const head = `# The command line

<!-- Generated from the commands' own help; a test compares. Mend with \`npx vitest run --project unit test/unit/ops -u\`. -->

In a clone, call it as \`npx shoal\`. Settings are described in [SETTINGS.md](SETTINGS.md), errors in
[ERRORS.md](ERRORS.md).
`;

/** The whole of docs/CLI.md. */
export const cliReference = (): string =>
  [head, ...helpTexts().map(({ command, help }) => `## ${command}\n\n\`\`\`text\n${help}\n\`\`\`\n`)].join('\n');
