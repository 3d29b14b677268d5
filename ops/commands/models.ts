import { type Command, Option } from 'commander';
import { ShoalError } from '../../core/errors.js';
import { AdminClient } from '../../platform/admin/client.js';
import type { ListedModelVersion, ListedWorker } from '../../platform/admin/listing.js';
import { addSettingOptions, settingsOf } from '../setting-options.js';
import { columns } from '../terminal/table.js';

const notes = `
Columns: BATCH is the most rows of one execution (none: one request at a time), QUEUE the rows waiting,
INSTANCES the executors on each worker.

Examples:
  shoal models
  shoal models magika --output json
  shoal models --server 10.0.0.5:8001`;

export function registerModels(program: Command): void {
  const command = program
    .command('models')
    .summary('list the models with their state and why')
    .description('Lists every version of every model with its state and why it is so.')
    .argument('[MODEL]', 'only this model')
    .addOption(new Option('--output <FORMAT>', 'how to print').choices(['table', 'json']).default('table'));
  addSettingOptions(command, 'client')
    .addHelpText('after', notes)
    .action(async (model: string | undefined, options: { readonly output: string }) => {
      const admin = new AdminClient(settingsOf(command, 'client').server);
      try {
        const [versions, workers] = await Promise.all([admin.listModels(), admin.listWorkers()]);
        const wanted = versions.filter((version) => model === undefined || version.model === model);
        if (model !== undefined && wanted.length === 0) {
          throw new ShoalError('MODEL_NOT_FOUND', `No model is called "${model}".`);
        }
        const text = options.output === 'json' ? JSON.stringify(wanted, undefined, 2) : modelsText(wanted, workers);
        process.stdout.write(`${text}\n`);
      } finally {
        admin.close();
      }
    });
}

/** `shoal models` as a table. */
export function modelsText(versions: readonly ListedModelVersion[], workers: readonly ListedWorker[]): string {
  if (versions.length === 0) {
    return workers.length === 0 ? 'No models: no worker has joined yet.' : 'No models: the workers hold none.';
  }
  const rows = versions.map(({ model, version, state, spec, queuedRows, reason }) => {
    const batch = spec === null ? '-' : spec.maxBatchSize === 0 ? 'none' : spec.maxBatchSize;
    return [model, version, state, batch, queuedRows, instancesText(model, version, workers), reason];
  });
  return columns(['model', 'version', 'state', 'batch', 'queue', 'instances', 'reason'], rows, [3, 4]);
}

/** Workers named one by one before they are only counted. */
const namedWorkers = 3;

/** `reef-1: 2 cpu; reef-2: 1 gpu:0, 1 cpu` */
function instancesText(model: string, version: string, workers: readonly ListedWorker[]): string {
  const held = workers.flatMap((worker) =>
    worker.versions
      .filter((entry) => entry.model === model && entry.version === version && entry.instances.length > 0)
      .map((entry) => ({ workerId: worker.workerId, devices: entry.instances.map(({ device }) => device) })),
  );
  if (held.length === 0) return '-';
  if (held.length > namedWorkers) {
    const total = held.reduce((sum, { devices }) => sum + devices.length, 0);
    return `${total} on ${held.length} workers`;
  }
  return held
    .map(({ workerId, devices }) => {
      const counts = [...new Set(devices)].map((device) => `${devices.filter((d) => d === device).length} ${device}`);
      return `${workerId}: ${counts.join(', ')}`;
    })
    .join('; ');
}
