import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type OnnxGraph, onnxType, writeOnnx } from './onnx-writer.js';

export interface MaskedModel {
  readonly name?: string;
  readonly maxBatchSize?: number;
  readonly queueDelayUs?: number;
  /** `parameters` of config.pbtxt, e.g. `sequence_buckets`. */
  readonly parameters?: Readonly<Record<string, string>>;
}

/**
 * Writes a model whose answers padding does not change, when `mask` is padded with 0: FP32 x[N,L,2], INT64 mask[N,L] →
 * `mean`[N,2], the mean of x over the entries along L whose mask is 1, and `tokens`[N,L,2] = 2x + 1. One thread.
 */
export async function generateMaskedModel(dir: string, options: MaskedModel = {}): Promise<void> {
  const { name = 'masked', maxBatchSize = 64, queueDelayUs = 0, parameters = {} } = options;
  await writeOnnx(join(dir, name, '1', 'model.onnx'), masked());
  const entries = Object.entries({ intra_op_thread_count: '1', ...parameters });
  const config = `name: "${name}"
max_batch_size: ${maxBatchSize}
dynamic_batching { max_queue_delay_microseconds: ${queueDelayUs} }
${entries.map(([key, value]) => `parameters { key: "${key}" value { string_value: "${value}" } }\n`).join('')}`;
  await writeFile(join(dir, name, 'config.pbtxt'), config);
}

function masked(): OnnxGraph {
  const scalar = (name: string, value: number) =>
    ({ name, type: 'FP32', shape: [], fill: (part: Buffer) => void part.writeFloatLE(value) }) as const;
  const mean = { axes: [1], keepdims: 0 };
  return {
    inputs: [
      { name: 'x', type: 'FP32', shape: ['N', 'L', 2] },
      { name: 'mask', type: 'INT64', shape: ['N', 'L'] },
    ],
    outputs: [
      { name: 'mean', type: 'FP32', shape: ['N', 2] },
      { name: 'tokens', type: 'FP32', shape: ['N', 'L', 2] },
    ],
    weights: [
      { name: 'last', type: 'INT64', shape: [1], fill: (part) => void part.writeBigInt64LE(2n) },
      scalar('two', 2),
      scalar('one', 1),
    ],
    nodes: [
      { op: 'Cast', inputs: ['mask'], outputs: ['shown'], attributes: { to: onnxType.FP32 } },
      { op: 'Unsqueeze', inputs: ['shown', 'last'], outputs: ['weight'] },
      { op: 'Mul', inputs: ['x', 'weight'], outputs: ['weighted'] },
      // Both are divided by L, so that L drops out of the quotient.
      { op: 'ReduceMean', inputs: ['weighted'], outputs: ['sum'], attributes: mean },
      { op: 'ReduceMean', inputs: ['weight'], outputs: ['share'], attributes: mean },
      { op: 'Div', inputs: ['sum', 'share'], outputs: ['mean'] },
      { op: 'Mul', inputs: ['x', 'two'], outputs: ['doubled'] },
      { op: 'Add', inputs: ['doubled', 'one'], outputs: ['tokens'] },
    ],
  };
}
