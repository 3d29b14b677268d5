import { AdminClient } from '../../../platform/admin/client.js';
import type { ListedHeldVersion, ListedModelVersion, ListedWorker } from '../../../platform/admin/listing.js';
import { eventually } from '../../support/eventually.js';

/** Looks at a running cluster through its Admin service and its metrics, as an operator does. */
export class ClusterView {
  readonly #admin: AdminClient;
  readonly #metrics: string;

  constructor(addresses: { readonly grpc: string; readonly metrics: string }) {
    this.#admin = new AdminClient(addresses.grpc);
    this.#metrics = addresses.metrics;
  }

  workers(): Promise<readonly ListedWorker[]> {
    return this.#admin.listWorkers();
  }

  models(): Promise<readonly ListedModelVersion[]> {
    return this.#admin.listModels();
  }

  /** One model as each worker holds it. */
  async held(model: string): Promise<ListedHeldVersion[]> {
    return (await this.workers()).flatMap(({ versions }) => versions.filter((held) => held.model === model));
  }

  async restarts(model: string): Promise<number> {
    const instances = (await this.held(model)).flatMap((held) => held.instances);
    return instances.reduce((sum, { restarts }) => sum + restarts, 0);
  }

  /** The sum of a metric's samples whose labels contain `labels`, for example `model="affine"`. */
  async metric(name: string, labels = ''): Promise<number> {
    const text = await (await fetch(`http://${this.#metrics}/metrics`)).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match?.[1] === name && (match[2] ?? '').includes(labels)) sum += Number(match[3]);
    }
    return sum;
  }

  /** Waits until so many workers are connected and each has all its instances of `model` up. */
  async serving(model: string, workers: number, instances: number, withinMs = 20_000): Promise<void> {
    await eventually(async () => {
      const held = (await this.held(model)).filter(({ state, slots }) => state === 'ready' && slots === instances);
      if (held.length < workers) throw new Error(`not yet: ${JSON.stringify(await this.workers())}`);
    }, withinMs);
  }

  /** Waits until nothing is queued and nothing is on its way: every request has been answered. */
  async idle(withinMs = 10_000): Promise<void> {
    await eventually(async () => {
      const inFlight = (await this.workers()).reduce((sum, { batchesInFlight }) => sum + batchesInFlight, 0);
      const queued = (await this.models()).reduce((sum, { queuedRows }) => sum + queuedRows, 0);
      if (inFlight > 0 || queued > 0) throw new Error(`${queued} rows wait and ${inFlight} batches are in flight`);
    }, withinMs);
  }

  close(): void {
    this.#admin.close();
  }
}
