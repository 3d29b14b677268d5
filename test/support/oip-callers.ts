import type { InferRequest, Parameters } from '../../core/inference.js';
import type { Tensor } from '../../core/tensor.js';
import { OipClient } from '../../platform/oip/client.js';

/** A request with what matters; the rest is empty. */
export const inferRequest = (
  model: string,
  inputs: readonly Tensor[],
  more: Partial<InferRequest> & { readonly parameters?: Parameters } = {},
): InferRequest => ({ model, version: '', id: '', parameters: {}, inputs, outputs: [], ...more });

/** Clients that share no connection: to the server they are strangers to each other. */
export const strangers = (address: string, count: number): OipClient[] =>
  Array.from({ length: count }, () => new OipClient(address, { 'grpc.use_local_subchannel_pool': 1 }));

/** Runs `work` for each item, at most `limit` at a time, and gives the results in order. Rejects with the first failure. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  let next = 0;
  const turn = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      results[index] = await work(items[index] as Item, index);
    }
  };
  await Promise.all(Array.from({ length: limit }, turn));
  return results;
}
