import type { Command } from 'commander';
import { clusterBanner } from '../banner.js';
import type { StartCluster } from '../running-cluster.js';
import { addSettingOptions, settingsOf } from '../setting-options.js';
import { supervise } from '../supervise.js';

const notes = `
Listens on 127.0.0.1 only, unless --host says otherwise. Ctrl-C or SIGTERM drains and exits 0; a second Ctrl-C exits at once.

Examples:
  shoal up
  shoal up --models ./models --devices gpu:0,gpu:1
  shoal up --workers 2 --grpc-port 9001 --http-port 9000 --metrics-port 9002
  SHOAL_LOG_LEVEL=warn shoal up --config shoal.yaml`;

export function registerUp(program: Command, start: StartCluster): void {
  const command = program
    .command('up')
    .summary('run a whole cluster on this machine')
    .description('Runs a coordinator and a worker per device on this machine, serving a model repository.');
  addSettingOptions(command, 'up')
    .addHelpText('after', notes)
    .action(async () => {
      const settings = settingsOf(command, 'up');
      await supervise(
        () => start(settings),
        (cluster, isReady) => clusterBanner(cluster, isReady, settings, process.cwd()),
        settings.drainGraceMs,
      );
    });
}
