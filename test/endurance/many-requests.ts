import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { generateBenchModels } from '../../bench/models/generate.js';
import { systemClock } from '../../core/clock.js';
import { noParameters } from '../../core/inference.js';
import { seededRandom } from '../../core/random.js';
import { OipClient } from '../../platform/oip/client.js';
import { encodeInferRequest } from '../../platform/oip/request.js';
import { decodeInferResponse } from '../../platform/oip/response.js';
import { openDescriptors, residentBytes } from '../faults/support/processes.js';
import { up } from '../faults/support/service.js';
import { median } from './median.js';

export interface RequestsReport {
  readonly requests: number;
  readonly perSecond: number;
  /** Sentences about answers that were wrong or failed; at most ten. */
  readonly complaints: readonly string[];
  /** Median resident bytes of the cluster's process (coordinator and worker) and of its executor. */
  readonly early: { readonly cluster: number; readonly executor: number };
  readonly late: { readonly cluster: number; readonly executor: number };
  readonly descriptors: readonly [number, number];
}

interface Question {
  readonly message: Buffer;
  readonly answer: Float32Array;
}

const width = 64;
const questions = 64;

/** Rows of random numbers, and what ONNX Runtime by itself makes of each. */
async function quiz(modelPath: string): Promise<Question[]> {
  const session = await InferenceSession.create(modelPath);
  const random = seededRandom(7);
  const made: Question[] = [];
  for (let i = 0; i < questions; i++) {
    const x = Float32Array.from({ length: width }, () => random.next() * 2 - 1);
    const { y } = await session.run({ x: new Tensor('float32', x, [1, width]) });
    const data = new Uint8Array(x.buffer);
    const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [1, width], data }];
    const request = { model: 'tiny', version: '', id: '', parameters: noParameters, inputs, outputs: [] };
    made.push({ message: encodeInferRequest(request), answer: y?.data as Float32Array });
  }
  await session.release();
  return made;
}

function complaintOf(bytes: Buffer, expected: Float32Array): string {
  const [y] = decodeInferResponse(bytes).outputs;
  if (y === undefined || y.data.byteLength !== expected.byteLength) return 'an answer has another size';
  const view = new DataView(y.data.buffer, y.data.byteOffset, y.data.byteLength);
  for (let i = 0; i < expected.length; i++) {
    const got = view.getFloat32(4 * i, true);
    // A batch may add up in another order than a single row.
    if (!(Math.abs(got - (expected[i] ?? 0)) < 1e-4)) return `element ${i} is ${got}, expected ${expected[i]}`;
  }
  return '';
}

/** Sends so many requests to `shoal up` over several connections, checks every answer, and watches the memory. */
export async function manyRequests(requests: number, { callers = 64, connections = 4 } = {}): Promise<RequestsReport> {
  const folder = await mkdtemp(path.join(tmpdir(), 'shoal-requests-'));
  await generateBenchModels(folder, ['tiny']);
  const asked = await quiz(path.join(folder, 'tiny/1/model.onnx'));
  const cluster = await up(folder);
  const own = { 'grpc.use_local_subchannel_pool': 1 };
  const clients = Array.from({ length: connections }, () => new OipClient(cluster.grpc, own));
  const [executor = 0] = cluster.executors;
  const samples: { readonly cluster: number; readonly executor: number }[] = [];
  const descriptors: number[] = [];
  const complaints: string[] = [];
  const every = Math.max(1, Math.floor(requests / 200));
  let next = 0;
  const caller = async (client: OipClient): Promise<void> => {
    while (next < requests) {
      const n = next++;
      const { message, answer } = asked[n % questions] as Question;
      try {
        const complaint = complaintOf(await client.inferEncoded(message, { timeoutMs: 60_000 }), answer);
        if (complaint !== '' && complaints.length < 10) complaints.push(`request ${n}: ${complaint}`);
      } catch (thrown) {
        if (complaints.length < 10) complaints.push(`request ${n}: ${String(thrown)}`);
      }
      if (n % every === 0) {
        samples.push({ cluster: residentBytes(cluster.pid), executor: residentBytes(executor) });
        descriptors.push(openDescriptors(cluster.pid));
      }
    }
  };
  const startMs = systemClock.nowMs();
  await Promise.all(Array.from({ length: callers }, (_, i) => caller(clients[i % connections] as OipClient)));
  const perSecond = (1000 * requests) / (systemClock.nowMs() - startMs);
  for (const client of clients) client.close();
  await cluster.stop();
  rmSync(folder, { recursive: true });
  // The first quarter grows the heaps to what the load needs.
  const part = (from: number, to: number) => {
    const cut = samples.slice(Math.floor(from * samples.length), Math.floor(to * samples.length));
    return { cluster: median(cut.map((one) => one.cluster)), executor: median(cut.map((one) => one.executor)) };
  };
  return {
    requests,
    perSecond: Math.round(perSecond),
    complaints,
    early: part(0.25, 0.5),
    late: part(0.75, 1),
    descriptors: [descriptors[Math.floor(descriptors.length / 4)] ?? 0, descriptors.at(-1) ?? 0],
  };
}
