import { existsSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../platform/package-root.js';
import type { Settings } from '../platform/settings/schema.js';
import type { ModelState, RunningCluster, RunningWorker } from './running-cluster.js';
import { bundledModels } from './setting-options.js';
import { columns } from './terminal/table.js';

/** How to call this program from where the user stands: `npx shoal` in a clone, `shoal` when installed. */
export const ownName = (workingFolder: string): string => {
  const fromHere = path.relative(workingFolder, packageRoot);
  return fromHere === '' || process.env.npm_command !== undefined ? 'npx shoal' : 'shoal';
};

export function modelTable(models: readonly ModelState[]): string {
  if (models.length === 0) return '  no models yet';
  const rows = models.map(({ model, version, state, reason }) => [model, version, state, reason]);
  return indented(columns(['model', 'version', 'state', 'reason'], rows));
}

const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ');

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

function headline(models: readonly ModelState[], isReady: boolean): string {
  const ready = models.filter(({ state }) => state === 'ready').length;
  const others = models.length - ready;
  const rest = others === 0 ? '' : `, ${others} not ready`;
  return `${counted(ready, 'model version')} ready${rest}${isReady ? '' : ' so far'}`;
}

/** An address to dial for one that was bound: `0.0.0.0` is reached here as loopback. */
const dialable = (address: string): string => address.replace(/^(0\.0\.0\.0|\[::\]|::)(?=:\d+$)/, '127.0.0.1');

/** Three commands that get a real answer, to be pasted in another terminal. */
function tryCommands(cluster: RunningCluster, settings: Settings, workingFolder: string): string[] {
  const shoal = ownName(workingFolder);
  const grpc = dialable(cluster.grpcAddress);
  const http = dialable(cluster.httpAddress);
  const server = grpc === '127.0.0.1:8001' ? '' : ` --server ${grpc}`;
  const models = cluster.models();
  if (models.length === 0) {
    return [
      `${shoal} worker --join ${grpc} --models DIR`,
      `${shoal} workers${server}`,
      `curl -s http://${http}/v2/health/ready -w '%{http_code}\\n'`,
    ];
  }
  const ready = models.filter(({ state }) => state === 'ready');
  const isBundled = settings.models === bundledModels && ready.some(({ model }) => model === 'mnist');
  if (!isBundled) {
    const model = ready[0]?.model ?? 'MODEL';
    return [
      `${shoal} infer ${model} --input FILE${server}`,
      `curl -s http://${http}/v2/models/${model}`,
      `${shoal} bench ${model} --concurrency 8${server}`,
    ];
  }
  const inputs = path.relative(workingFolder, path.join(packageRoot, 'examples', 'inputs', 'mnist')) || '.';
  const json = path.join(inputs, 'five.json');
  return [
    `${shoal} infer mnist --input ${path.join(inputs, 'five.png')}${server}`,
    existsSync(path.resolve(workingFolder, json))
      ? `curl -s http://${http}/v2/models/mnist/infer --json @${json}`
      : `curl -s http://${http}/v2/models/mnist`,
    `${shoal} bench magika --concurrency 8 --duration 5s${server}`,
  ];
}

export function clusterBanner(
  cluster: RunningCluster,
  isReady: boolean,
  settings: Settings,
  workingFolder: string,
): string {
  const models = cluster.models();
  return [
    '',
    models.length === 0 ? 'Shoal waits for workers with models.' : `Shoal serves: ${headline(models, isReady)}.`,
    '',
    `  gRPC     ${cluster.grpcAddress}`,
    `  HTTP     http://${cluster.httpAddress}`,
    `  metrics  http://${cluster.metricsAddress}/metrics`,
    '',
    modelTable(models),
    '',
    'Try, in another terminal:',
    ...tryCommands(cluster, settings, workingFolder).map((line) => `  ${line}`),
    '',
    'Ctrl-C drains and stops.',
    '',
  ].join('\n');
}

export function workerBanner(worker: RunningWorker, isReady: boolean, settings: Settings): string {
  const models = worker.models();
  const joined = settings.join.length === 0 ? 'waits for coordinators' : `serves ${settings.join.join(', ')}`;
  return [
    '',
    `Worker ${worker.workerId} ${joined}: ${headline(models, isReady)}.`,
    '',
    `  link     ${worker.linkAddress}`,
    `  metrics  http://${worker.metricsAddress}/metrics`,
    `  devices  ${settings.devices.join(', ')}`,
    '',
    modelTable(models),
    '',
    'Ctrl-C drains and stops.',
    '',
  ].join('\n');
}
