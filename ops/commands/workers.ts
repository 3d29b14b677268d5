import { type Command, Option } from 'commander';
import { AdminClient } from '../../platform/admin/client.js';
import type { ListedWorker } from '../../platform/admin/listing.js';
import { addSettingOptions, settingsOf } from '../setting-options.js';
import { columns } from '../terminal/table.js';

const notes = `
The second table lists every executor process. A worker whose state is lost has hung up; it comes back by itself.

Examples:
  shoal workers
  shoal workers --output json`;

export function registerWorkers(program: Command): void {
  const command = program
    .command('workers')
    .summary('list the workers and their executors')
    .description('Lists the workers that joined the coordinator, with their devices and executor processes.')
    .addOption(new Option('--output <FORMAT>', 'how to print').choices(['table', 'json']).default('table'));
  addSettingOptions(command, 'client')
    .addHelpText('after', notes)
    .action(async (options: { readonly output: string }) => {
      const admin = new AdminClient(settingsOf(command, 'client').server);
      try {
        const workers = await admin.listWorkers();
        const text = options.output === 'json' ? JSON.stringify(workers, undefined, 2) : workersText(workers);
        process.stdout.write(`${text}\n`);
      } finally {
        admin.close();
      }
    });
}

const pidText = (pid: number | undefined): string | number => (pid === undefined || pid === 0 ? '-' : pid);

/** `shoal workers` as two tables. */
export function workersText(workers: readonly ListedWorker[]): string {
  if (workers.length === 0) return 'No worker has joined yet. Start one with `shoal worker --join HOST:PORT`.';
  const rows = workers.map(({ workerId, state, address, info, batchesInFlight, reason }) => [
    workerId,
    state,
    address === '' ? '-' : address,
    info?.devices.join(',') ?? '-',
    batchesInFlight,
    pidText(info?.pid),
    info?.softwareVersion ?? '-',
    reason,
  ]);
  const head = ['worker', 'state', 'address', 'devices', 'in flight', 'pid', 'version', 'reason'];
  const table = columns(head, rows, [4, 5]);
  const instances = workers.flatMap(({ workerId, versions }) =>
    versions.flatMap(({ model, version, instances: held }) =>
      held.map(({ id, device, state, pid, restarts, reason }) => [
        workerId,
        model,
        version,
        id,
        device,
        state,
        pidText(pid),
        restarts,
        reason,
      ]),
    ),
  );
  if (instances.length === 0) return `${table}\n\nNo executor runs.`;
  const instanceHead = ['worker', 'model', 'version', 'instance', 'device', 'state', 'pid', 'restarts', 'reason'];
  return `${table}\n\n${columns(instanceHead, instances, [6, 7])}`;
}
