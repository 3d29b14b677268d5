// What one request and one answer cost to read and to write. Run: `npm run build && node dist/bench/micro/oip-codec.js`
import { systemClock } from '../../core/clock.js';
import type { InferRequest, InferResponse } from '../../core/inference.js';
import { decodeInferRequest, encodeInferRequest } from '../../platform/oip/request.js';
import { decodeInferResponse, encodeInferResponse } from '../../platform/oip/response.js';

const receipt = {
  queueUs: 0,
  batchWaitUs: 0,
  inputUs: 0,
  executeUs: 0,
  outputUs: 0,
  batchRows: 1,
  paddedRows: 0,
  version: '1',
  worker: 'w',
  instance: 'i',
  attempt: 1,
};

function request(elements: number, rest: Partial<InferRequest> = {}): InferRequest {
  const data = new Uint8Array(new Float32Array(elements).fill(0.5).buffer);
  const input = { name: 'input', datatype: 'FP32' as const, shape: [1, elements], data };
  return { model: 'mlp-3072', version: '', id: '', parameters: {}, inputs: [input], outputs: [], ...rest };
}

function response(elements: number): InferResponse {
  const part = new Uint8Array(elements * 4);
  const output = {
    name: 'output',
    datatype: 'FP32' as const,
    shape: [1, elements],
    parts: [part],
    byteLength: part.length,
  };
  return { model: 'mlp-3072', version: '1', id: 'req-184467', outputs: [output], receipt };
}

/** Microseconds per call: the median of nine rounds of about 60 ms each. */
function measure(label: string, call: () => unknown): void {
  let sink: unknown;
  const timeUs = (calls: number): number => {
    const startMs = systemClock.nowMs();
    for (let i = 0; i < calls; i++) sink = call();
    return ((systemClock.nowMs() - startMs) * 1000) / calls;
  };
  timeUs(20_000);
  const calls = Math.max(10, Math.ceil(60_000 / timeUs(1_000)));
  const rounds = Array.from({ length: 9 }, () => timeUs(calls)).sort((a, b) => a - b);
  const [median = 0] = rounds.slice(4);
  const [best = 0] = rounds;
  process.stdout.write(`${label.padEnd(58)} ${median.toFixed(2).padStart(8)} µs   best ${best.toFixed(2)}\n`);
  if (sink === undefined) throw new Error('nothing was measured');
}

const request12 = request(3072);
const plain = encodeInferRequest(request12);
const rich = encodeInferRequest(
  request(3072, { id: 'req-184467', parameters: { timeout: 50_000 }, outputs: [{ name: 'output', parameters: {} }] }),
);
const tiny = encodeInferRequest(request(64));
const large = encodeInferRequest(request(150_000));
const answer = response(1000);
const encodedAnswer = encodeInferResponse(answer);
const timing = { 'queue-us': 120, 'execute-us': 394, 'batch-rows': 16, worker: 'worker-1' };

measure('decode request, 1 input of 256 B', () => decodeInferRequest(tiny));
measure('decode request, 1 input of 12 KB', () => decodeInferRequest(plain));
measure('decode request, 12 KB, id, timeout, 1 output named', () => decodeInferRequest(rich));
measure('decode request, 1 input of 600 KB', () => decodeInferRequest(large));
measure('encode response, 1 output of 4 KB', () => encodeInferResponse(answer));
measure('encode response, 4 KB, 4 parameters', () => encodeInferResponse(answer, timing));
measure('decode response, 1 output of 4 KB', () => decodeInferResponse(encodedAnswer));
measure('encode request, 1 input of 12 KB', () => encodeInferRequest(request12));
