import type { Command } from 'commander';
import { workerBanner } from '../banner.js';
import type { StartWorker } from '../running-cluster.js';
import { addSettingOptions, settingsOf } from '../setting-options.js';
import { supervise } from '../supervise.js';

const notes = `
Listens on all addresses, unless --host says otherwise. Ctrl-C or SIGTERM drains and exits 0.

Examples:
  shoal worker --join 10.0.0.5:8001 --models /srv/models --devices gpu:0
  shoal worker --join 127.0.0.1:8001 --models examples/models
  shoal worker --join a:8001,b:8001 --link-port 7001 --advertise worker-1.internal`;

export function registerWorker(program: Command, start: StartWorker): void {
  const command = program
    .command('worker')
    .summary('run a worker on its own')
    .description(
      'Runs a worker: it loads models onto its devices and executes the batches of the coordinators it joins.',
    );
  addSettingOptions(command, 'worker')
    .addHelpText('after', notes)
    .action(async () => {
      const settings = settingsOf(command, 'worker');
      await supervise(
        () => start(settings),
        (worker, isReady) => workerBanner(worker, isReady, settings),
        settings.drainGraceMs,
      );
    });
}
