import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { generateBenchModels } from '../../bench/models/generate.js';
import { OipClient } from '../../platform/oip/client.js';
import { ClusterView } from './support/cluster-view.js';
import { complaint, Load, numbered } from './support/load.js';
import { wideModel } from './support/odd-models.js';
import { anyDoors, Service, up } from './support/service.js';
import { type SmallFolder, smallFolder } from './support/small-folder.js';

const mib = 2 ** 20;
let dir = '';
beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'shoal-slab-'));
  await generateBenchModels(dir, ['affine']);
  for (const name of ['wide', 'wider']) await wideModel(dir, name);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const probe = smallFolder(mib);
if (typeof probe === 'string') console.warn(`Full slab folders are not tried: ${probe}.`);
else probe.remove();

let folder: SmallFolder;
let cluster: Service | undefined;
let view: ClusterView;
const mounted = (bytes: number, options = ''): void => {
  const made = smallFolder(bytes, options);
  if (typeof made === 'string') throw new Error(made);
  folder = made;
};
const start = async (): Promise<Service> => {
  cluster = await up(dir, ['--slab-dir', folder.dir]);
  view = new ClusterView(cluster);
  return cluster;
};
afterEach(async () => {
  view?.close();
  await cluster?.stop();
  cluster = undefined;
  folder.remove();
});

/** One row of so many bytes. */
const wide = async (client: OipClient, n: number, bytes: number, model = 'wide'): Promise<string> => {
  const answer = await client.infer(numbered(model, n, 1, bytes / 4), { timeoutMs: 20_000 });
  return complaint(answer, n, 1, bytes / 4);
};

describe.skipIf(typeof probe === 'string')('a slab folder', () => {
  it.each([
    { what: 'the inputs of a batch do not fit into', bytes: 6 * mib },
    { what: 'the outputs of a batch do not fit into beside its inputs', bytes: 3 * mib },
  ])('that $what refuses that batch with a sentence and serves all others', async ({ bytes }) => {
    mounted(4 * mib);
    const { grpc } = await start();
    const client = new OipClient(grpc);
    const beside = new Load({ address: grpc, model: 'wide', callers: 4, timeoutMs: 20_000 });
    await beside.answered(50);
    for (let n = 0; n < 5; n++) {
      await expect(wide(client, n, bytes)).rejects.toMatchObject({
        code: 'OUT_OF_SPACE',
        message: expect.stringMatching(
          /^The shared-memory folder .* has no room for a batch of \d+ bytes \(ENOSPC\)\./,
        ),
      });
      await beside.answered(20);
    }
    // What the refused left behind does not stand in the way of what fits.
    expect(await wide(client, 5, mib)).toBe('');
    const ledger = await beside.stop();
    expect(ledger).toMatchObject({ failures: {}, wrong: [], sent: ledger.right });
    expect(await view.restarts('wide')).toBe(0);
    await view.idle();
    client.close();
  });

  it('that has room for one large batch at a time answers them all, one after the other', async () => {
    mounted(4 * mib);
    const { grpc } = await start();
    const client = new OipClient(grpc);
    for (let n = 0; n < 20; n++) expect(await wide(client, n, 1.5 * mib)).toBe('');
    // Together these make a batch of 6 MiB; and two that are prepared at a time would want 4.5.
    const together = await Promise.all([20, 21, 22, 23].map((n) => wide(client, n, 1.5 * mib)));
    expect(together).toEqual(['', '', '', '']);
    await view.idle();
    client.close();
  });

  it('gives the room of one model to the next', async () => {
    mounted(4 * mib);
    const { grpc } = await start();
    const client = new OipClient(grpc);
    for (let n = 0; n < 6; n++) {
      for (const model of ['wide', 'wider']) expect(await wide(client, n, 1.5 * mib, model)).toBe('');
    }
    client.close();
  });

  it('that fills up while it is in use says so, and serves again as soon as there is room', async () => {
    mounted(mib);
    const { grpc } = await start();
    const client = new OipClient(grpc);
    expect(await wide(client, 0, 1024)).toBe('');
    const ballast = path.join(folder.dir, 'ballast');
    expect(() => writeFileSync(ballast, new Uint8Array(2 * mib))).toThrow(/ENOSPC/);
    await expect(wide(client, 1, 128 * 1024)).rejects.toMatchObject({ code: 'OUT_OF_SPACE' });
    rmSync(ballast);
    expect(await wide(client, 2, 128 * 1024)).toBe('');
    client.close();
  });

  it.each([
    { what: 'is full', options: '', bytes: mib, code: 1, said: /no room for a batch of 65536 bytes \(ENOSPC\)/ },
    { what: 'takes no more files', options: ',nr_inodes=2', bytes: 1, code: 1, said: /has no room \(ENOSPC\)/ },
  ])('that $what is a start in vain that says why', async ({ options, bytes, code, said }) => {
    mounted(mib, options);
    writeFileSync(path.join(folder.dir, 'ballast'), new Uint8Array(bytes));
    const ending = await Service.startInVain(['up', '--models', dir, '--slab-dir', folder.dir, ...anyDoors]);
    expect(ending.code).toBe(code);
    expect(ending.output).toMatch(said);
    expect(ending.output).toMatch(/Free space in the shared-memory folder, or set `--slab-dir` to a larger one\./);
  });

  it.each([
    { what: 'is not there', name: 'nowhere' },
    { what: 'is no folder', name: 'file' },
  ])('that $what is a start in vain that says why', async ({ name }) => {
    mounted(mib);
    writeFileSync(path.join(folder.dir, 'file'), '');
    const slabDir = path.join(folder.dir, name);
    const ending = await Service.startInVain(['up', '--models', dir, '--slab-dir', slabDir, ...anyDoors]);
    expect(ending.code).toBe(2);
    expect(ending.output).toContain(`The shared-memory folder ${slabDir} cannot be used`);
  });
});
