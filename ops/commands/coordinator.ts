import type { Command } from 'commander';
import { clusterBanner } from '../banner.js';
import type { StartCluster } from '../running-cluster.js';
import { addSettingOptions, settingsOf } from '../setting-options.js';
import { supervise } from '../supervise.js';

const notes = `
Listens on all addresses, unless --host says otherwise. Workers join it with \`shoal worker --join HOST:PORT\`,
where PORT is its gRPC port. Ctrl-C or SIGTERM drains and exits 0.

Examples:
  shoal coordinator
  shoal coordinator --host 127.0.0.1 --grpc-port 9001 --max-queue-rows 1024`;

export function registerCoordinator(program: Command, start: StartCluster): void {
  const command = program
    .command('coordinator')
    .summary('run a coordinator on its own')
    .description('Runs a coordinator: it takes requests, forms batches and sends them to the workers that joined it.');
  addSettingOptions(command, 'coordinator')
    .addHelpText('after', notes)
    .action(async () => {
      const settings = settingsOf(command, 'coordinator');
      await supervise(
        () => start(settings),
        (cluster, isReady) => clusterBanner(cluster, isReady, settings, process.cwd()),
        settings.drainGraceMs,
      );
    });
}
