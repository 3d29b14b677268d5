import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../../core/random.js';
import { probeRepository } from '../support/probe-repository.js';
import { ShoalGround } from '../support/shoal-ground.js';
import type { ShoalProcess } from '../support/shoal-process.js';
import { SteadyLoad } from '../support/steady-load.js';

let ground: ShoalGround;
beforeEach(async () => {
  ground = await ShoalGround.open();
});
afterEach(() => ground.close());

/** Batch sizes whose time a worker knows, as it tells Prometheus. */
async function knownRows(worker: ShoalProcess): Promise<number[]> {
  const [, url = ''] = await worker.printed(/metrics +(http:\S+)/);
  const text = await (await fetch(url)).text();
  return [...text.matchAll(/^shoal_execution_profile_seconds\{.*device_class="cpu",rows="(\d+)"\} \S+$/gm)].map(
    ([, rows]) => Number(rows),
  );
}

test('a worker that starts again knows what executions took under load', async () => {
  const models = await probeRepository(path.join(ground.folder, 'models'), ['wide']);
  const { grpc } = await ground.coordinator();
  const first = await ground.worker('first', [grpc], { models });
  const tried = await knownRows(first);
  expect(tried).toEqual([1, 2, 4, 8, 16, 32, 64]);
  const load = new SteadyLoad(grpc, seededRandom(5), { callers: 6, perCaller: 4 });
  await load.answers(600);
  expect((await load.stop()).complaints).toEqual([]);
  const learned = await knownRows(first);
  expect(learned.length).toBeGreaterThan(tried.length);
  await first.stop();

  const folder = path.join(ground.folder, 'data/profiles');
  const [file = '', ...others] = readdirSync(folder);
  expect(others).toEqual([]);
  const stored = JSON.parse(readFileSync(path.join(folder, file), 'utf8'));
  expect(stored.profiles[0].points.map(({ rows }: { rows: number }) => rows)).toEqual(learned);

  const second = await ground.worker('second', [grpc], { models });
  expect(await knownRows(second)).toEqual(learned);
});
