import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateSlowModel } from '../../bench/models/generate.js';
import type { Tensor } from '../../core/tensor.js';
import { OipClient } from '../../platform/oip/client.js';
import { packageRoot } from '../../platform/package-root.js';
import { eventually } from '../support/eventually.js';
import { HttpCaller } from '../support/http-caller.js';
import { inferRequest } from '../support/oip-callers.js';
import { ShoalGround } from '../support/shoal-ground.js';

interface Span {
  readonly pid: number;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly links: readonly string[];
  readonly attributes: Readonly<Record<string, unknown>>;
}

interface Served {
  readonly grpc: string;
  readonly http: string;
  /** Processes in which request and batch spans, and execute spans, are made. */
  readonly coordinator: number;
  readonly worker: number;
}

type Env = Readonly<Record<string, string>>;

const topologies: readonly { name: string; start(ground: ShoalGround, models: string, env: Env): Promise<Served> }[] = [
  {
    name: 'in one process',
    start: async (ground, models, env) => {
      const cluster = await ground.up({ models, env });
      return { ...addresses(cluster), coordinator: cluster.pid, worker: cluster.pid };
    },
  },
  {
    name: 'over the link to a worker of its own',
    start: async (ground, models, env) => {
      const coordinator = await ground.coordinator({ env });
      const worker = await ground.worker('far', [coordinator.grpc], { models, env });
      return { ...addresses(coordinator), coordinator: coordinator.pid, worker: worker.pid };
    },
  },
];

const addresses = ({ grpc, http }: { readonly grpc: string; readonly http: string }) => ({ grpc, http });

const input: Tensor = { name: 'x', datatype: 'FP32', shape: [1, 4], data: new Uint8Array(16) };
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
/** Of caller number `index`, from 1. */
const callerOf = (index: number) => ({ traceId: hex(index, 32), spanId: hex(index, 16) });
const traceparentOf = (index: number, flags = '01'): string =>
  `00-${callerOf(index).traceId}-${callerOf(index).spanId}-${flags}`;

describe.each(topologies)('a traceparent goes the whole way $name', ({ start }) => {
  let ground: ShoalGround;
  let folder: string;
  let served: Served;
  let client: OipClient;
  beforeAll(async () => {
    ground = await ShoalGround.open();
    folder = path.join(ground.folder, 'spans');
    await mkdir(folder);
    const models = path.join(ground.folder, 'models');
    await generateSlowModel(models, { milliseconds: 20 });
    const registration = path.join(packageRoot, 'test/support/register-tracing.mjs');
    served = await start(ground, models, { NODE_OPTIONS: `--import ${registration}`, TRACE_FOLDER: folder });
    client = new OipClient(served.grpc);
  });
  afterAll(async () => {
    client.close();
    await ground.close();
  });

  async function spans(): Promise<readonly Span[]> {
    const texts = await Promise.all((await readdir(folder)).map((file) => readFile(path.join(folder, file), 'utf8')));
    return texts.flatMap((text) =>
      text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Span),
    );
  }

  /** Resolves with all spans once those of these callers' requests, batches and executions are there. */
  const wayOf = (callers: readonly number[]) =>
    eventually(async () => {
      const all = await spans();
      const ways = callers.map((index) => {
        const { traceId, spanId } = callerOf(index);
        const [request, second] = all.filter((span) => span.name === 'infer' && span.traceId === traceId);
        expect(request).toMatchObject({ parentSpanId: spanId, pid: served.coordinator });
        expect(second).toBeUndefined();
        const batches = all.filter((span) => span.name === 'batch' && span.links.includes(request?.spanId ?? ''));
        expect(batches).toHaveLength(1);
        const [batch] = batches;
        const executions = all.filter(
          ({ name, parentSpanId }) => name === 'shoal.execute' && parentSpanId === batch?.spanId,
        );
        expect(executions).toHaveLength(1);
        return { request: request as Span, batch: batch as Span, execution: executions[0] as Span };
      });
      return { all, ways };
    });

  test('one caller: request, batch and execution are spans of its trace, each the child of the one before', async () => {
    await client.infer(inferRequest('slow', [input]), { metadata: { traceparent: traceparentOf(1) } });
    const { ways } = await wayOf([1]);
    const [{ request, batch, execution }] = ways as [(typeof ways)[number]];
    const { traceId } = callerOf(1);
    expect(batch).toMatchObject({
      traceId,
      parentSpanId: request.spanId,
      links: [request.spanId],
      pid: served.coordinator,
    });
    expect(execution).toMatchObject({ traceId, parentSpanId: batch.spanId, pid: served.worker });
    expect(batch.attributes).toMatchObject({ 'shoal.model': 'slow', 'shoal.version': '1', 'shoal.batch.rows': 1 });
    expect(execution.attributes).toMatchObject({ 'shoal.model': 'slow', 'shoal.rows': 1, 'shoal.attempt': 1 });
  });

  test('many callers at once: a batch belongs to the trace of one and links to the requests of all', async () => {
    const callers = Array.from({ length: 16 }, (_, index) => index + 100);
    await Promise.all(
      callers.map((index) =>
        client.infer(inferRequest('slow', [input]), { metadata: { traceparent: traceparentOf(index) } }),
      ),
    );
    const { ways } = await wayOf(callers);
    for (const { batch, execution } of ways) {
      expect(execution.traceId).toBe(batch.traceId);
      const members = ways.filter((way) => way.batch.spanId === batch.spanId).map((way) => way.request);
      expect([...batch.links].sort()).toEqual(members.map(({ spanId }) => spanId).sort());
      expect(members).toContainEqual(expect.objectContaining({ spanId: batch.parentSpanId, traceId: batch.traceId }));
    }
    // While the first batches ran the others gathered: at least one batch served several callers.
    expect(Math.max(...ways.map(({ batch }) => batch.links.length))).toBeGreaterThan(4);
  });

  test('the header of an HTTP request counts as well', async () => {
    const http = new HttpCaller(served.http);
    const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }] });
    const { status, text } = await http.send('POST', '/v2/models/slow/infer', body, { traceparent: traceparentOf(2) });
    http.close();
    expect(status, text).toBe(200);
    const { ways } = await wayOf([2]);
    expect(ways[0]?.execution.traceId).toBe(callerOf(2).traceId);
  });

  test('who does not sample is not traced, and who sends no or a broken header begins a trace of the server', async () => {
    const before = (await spans()).length;
    for (const traceparent of [traceparentOf(3, '00'), 'nonsense']) {
      await client.infer(inferRequest('slow', [input]), { metadata: { traceparent } });
    }
    await client.infer(inferRequest('slow', [input]));
    // Three spans each for the last two requests.
    const all = await eventually(async () => {
      const found = await spans();
      expect(found.length).toBe(before + 6);
      return found;
    });
    expect(all.filter(({ traceId }) => traceId === callerOf(3).traceId)).toEqual([]);
    expect(new Set(all.map(({ traceId }) => traceId)).has('nonsense')).toBe(false);
  });
});
