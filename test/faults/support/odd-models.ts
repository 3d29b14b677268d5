import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type OnnxGraph, type OnnxWeights, writeOnnx } from '../../../bench/models/onnx-writer.js';

const scalar = (name: string, value: number): OnnxWeights => ({
  name,
  type: 'FP32',
  shape: [],
  fill: (part) => void part.writeFloatLE(value),
});

const affineNodes = (from: string, to: string) => [
  { op: 'Mul', inputs: [from, 'two'], outputs: ['doubled'] },
  { op: 'Add', inputs: ['doubled', 'one'], outputs: [to] },
];
const affineWeights = [scalar('two', 2), scalar('one', 1)];

async function save(dir: string, name: string, graph: OnnxGraph, dims: string, more = ''): Promise<void> {
  await writeOnnx(path.join(dir, name, '1', 'model.onnx'), graph);
  mkdirSync(path.join(dir, name), { recursive: true });
  const config = `name: "${name}"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "x" data_type: TYPE_FP32 dims: [ ${dims} ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ ${dims} ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
${more}`;
  writeFileSync(path.join(dir, name, 'config.pbtxt'), config);
}

/** FP32 x[N,W] → y = 2x + 1, for requests of any size. */
export function wideModel(dir: string, name: string): Promise<void> {
  const graph: OnnxGraph = {
    nodes: affineNodes('x', 'y'),
    weights: affineWeights,
    inputs: [{ name: 'x', type: 'FP32', shape: ['N', 'W'] }],
    outputs: [{ name: 'y', type: 'FP32', shape: ['N', 'W'] }],
  };
  return save(dir, name, graph, '-1');
}

/**
 * `hungry`: FP32 x[N,4] → y = 2x + 1, by way of an intermediate tensor of `mibPerRow` MiB a row that counts for
 * nothing. Warmed up with one row only, so that its appetite shows under load.
 */
export function hungryModel(dir: string, mibPerRow: number): Promise<void> {
  const columns = (mibPerRow * 2 ** 20) / 4;
  const graph: OnnxGraph = {
    nodes: [
      { op: 'MatMul', inputs: ['x', 'w'], outputs: ['huge'] },
      { op: 'ReduceMean', inputs: ['huge'], outputs: ['mean'], attributes: { axes: [1], keepdims: 1 } },
      { op: 'Mul', inputs: ['mean', 'zero'], outputs: ['nothing'] },
      ...affineNodes('x', 'sum'),
      { op: 'Add', inputs: ['sum', 'nothing'], outputs: ['y'] },
    ],
    weights: [
      { name: 'w', type: 'FP32', shape: [4, columns], fill: (part) => void part.fill(0) },
      scalar('zero', 0),
      ...affineWeights,
    ],
    inputs: [{ name: 'x', type: 'FP32', shape: ['N', 4] }],
    outputs: [{ name: 'y', type: 'FP32', shape: ['N', 4] }],
  };
  const warmUp = `model_warmup [ {
  name: "one row" batch_size: 1
  inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 4 ] random_data: true } }
} ]
`;
  return save(dir, 'hungry', graph, '4', warmUp);
}
