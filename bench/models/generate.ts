import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ShoalError } from '../../core/errors.js';
import { type Random, seededRandom } from '../../core/random.js';
import { type OnnxGraph, type OnnxNode, type OnnxWeights, writeOnnx } from './onnx-writer.js';

/** - `tiny`: MLP 64→64→10 - `mid`: 1024→1024→1024→1024→1000 - `big`: 3072→4096→4096→1000 - `seq`: [N,L,256]→[N,256] */
export const benchModels = ['tiny', 'mid', 'big', 'seq'] as const;
export type BenchModel = (typeof benchModels)[number];

/**
 * Small models whose answers tell something:
 * - `affine`: FP32 x[N,4] → y = 2x + 1, so every row carries its own identity
 * - `neighbour`: FP32 x[N,4] → y = x − mean of x over the batch: rows depend on their company
 * - `bytes`: BYTES x[N,1] → y = x
 */
export const probeModels = ['affine', 'neighbour', 'bytes'] as const;
export type ProbeModel = (typeof probeModels)[number];

/**
 * Writes models as a Triton repository, `<dir>/<name>/1/model.onnx` with config.pbtxt: max_batch_size 64, no queue
 * delay, one thread. The same bytes every time. `big` is 134 MB and takes about a second.
 * @throws BAD_SETTING when the folder cannot be written
 */
export async function generateBenchModels(
  dir: string,
  names: readonly (BenchModel | ProbeModel)[] = benchModels,
): Promise<void> {
  for (const name of names) {
    const { graph, input, output, type } = recipes[name]();
    await save(dir, name, graph, { input, output, type });
  }
}

/**
 * Writes a model that computes y = 2x + 1 like `affine`, but takes about `milliseconds` per execution on one core
 * of 2020s x86-64, however many rows there are.
 * @throws BAD_SETTING when the folder cannot be written
 */
export async function generateSlowModel(
  dir: string,
  { name = 'slow', milliseconds = 20 }: { name?: string; milliseconds?: number } = {},
): Promise<void> {
  const turns = Math.max(1, Math.round((milliseconds * 1000) / turnUs));
  await save(dir, name, slow(turns), { input: '4', output: '4', type: 'TYPE_FP32' });
}

interface Declared {
  /** `dims` of config.pbtxt. */
  readonly input: string;
  readonly output: string;
  readonly type: 'TYPE_FP32' | 'TYPE_STRING';
}

async function save(dir: string, name: string, graph: OnnxGraph, { input, output, type }: Declared): Promise<void> {
  const config = `name: "${name}"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "x" data_type: ${type} dims: [ ${input} ] } ]
output [ { name: "y" data_type: ${type} dims: [ ${output} ] } ]
dynamic_batching { max_queue_delay_microseconds: 0 }
instance_group [ { kind: KIND_AUTO count: 1 } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
parameters { key: "inter_op_thread_count" value: { string_value: "1" } }
`;
  try {
    await mkdir(join(dir, name), { recursive: true });
    await writeOnnx(join(dir, name, '1', 'model.onnx'), graph);
    await writeFile(join(dir, name, 'config.pbtxt'), config);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ShoalError('BAD_SETTING', `The model '${name}' cannot be written to ${dir}: ${reason}.`, { cause });
  }
}

const recipes: Readonly<Record<BenchModel | ProbeModel, () => Declared & { readonly graph: OnnxGraph }>> = {
  tiny: () => mlp([64, 64, 10]),
  mid: () => mlp([1024, 1024, 1024, 1024, 1000]),
  big: () => mlp([3072, 4096, 4096, 1000]),
  seq: () => ({ graph: seq(), input: '-1, 256', output: '256', type: 'TYPE_FP32' }),
  affine: () => ({ graph: affine(), input: '4', output: '4', type: 'TYPE_FP32' }),
  neighbour: () => ({ graph: neighbour(), input: '4', output: '4', type: 'TYPE_FP32' }),
  bytes: () => ({ graph: bytes(), input: '1', output: '1', type: 'TYPE_STRING' }),
};

/** Uniform in ±1/√fanIn, the usual initial scale, so that activations neither vanish nor grow. */
function uniform(random: Random, name: string, shape: readonly number[], fanIn: number): OnnxWeights {
  const scale = 2 / Math.sqrt(fanIn);
  return {
    name,
    type: 'FP32',
    shape,
    fill: (part) => {
      for (let at = 0; at < part.length; at += 4) part.writeFloatLE((random.next() - 0.5) * scale, at);
    },
  };
}

const constant = (name: string, value: number): OnnxWeights => ({
  name,
  type: 'FP32',
  shape: [],
  fill: (part) => part.writeFloatLE(value),
});

function mlp(widths: readonly number[]): Declared & { readonly graph: OnnxGraph } {
  const random = seededRandom(1);
  const nodes: OnnxNode[] = [];
  const weights: OnnxWeights[] = [];
  const layers = widths.length - 1;
  for (let layer = 0; layer < layers; layer++) {
    const [fanIn = 0, fanOut = 0] = widths.slice(layer);
    const last = layer === layers - 1;
    weights.push(uniform(random, `w${layer}`, [fanIn, fanOut], fanIn), uniform(random, `b${layer}`, [fanOut], fanIn));
    const inputs = [layer === 0 ? 'x' : `h${layer - 1}`, `w${layer}`, `b${layer}`];
    nodes.push({ op: 'Gemm', inputs, outputs: [last ? 'y' : `g${layer}`] });
    if (!last) nodes.push({ op: 'Relu', inputs: [`g${layer}`], outputs: [`h${layer}`] });
  }
  const [first = 0, final = 0] = [widths[0], widths.at(-1)];
  return {
    graph: {
      nodes,
      weights,
      inputs: [{ name: 'x', type: 'FP32', shape: ['N', first] }],
      outputs: [{ name: 'y', type: 'FP32', shape: ['N', final] }],
    },
    input: String(first),
    output: String(final),
    type: 'TYPE_FP32',
  };
}

function seq(): OnnxGraph {
  const random = seededRandom(2);
  return {
    nodes: [
      { op: 'MatMul', inputs: ['x', 'w1'], outputs: ['a'] },
      { op: 'Relu', inputs: ['a'], outputs: ['b'] },
      { op: 'MatMul', inputs: ['b', 'w2'], outputs: ['c'] },
      { op: 'ReduceMean', inputs: ['c'], outputs: ['y'], attributes: { axes: [1], keepdims: 0 } },
    ],
    weights: [uniform(random, 'w1', [256, 1024], 256), uniform(random, 'w2', [1024, 256], 1024)],
    inputs: [{ name: 'x', type: 'FP32', shape: ['N', 'L', 256] }],
    outputs: [{ name: 'y', type: 'FP32', shape: ['N', 256] }],
  };
}

const rowsOfFour = {
  inputs: [{ name: 'x', type: 'FP32', shape: ['N', 4] }],
  outputs: [{ name: 'y', type: 'FP32', shape: ['N', 4] }],
} as const;

function affine(): OnnxGraph {
  return {
    ...rowsOfFour,
    nodes: [
      { op: 'Mul', inputs: ['x', 'two'], outputs: ['doubled'] },
      { op: 'Add', inputs: ['doubled', 'one'], outputs: ['y'] },
    ],
    weights: [constant('two', 2), constant('one', 1)],
  };
}

function neighbour(): OnnxGraph {
  return {
    ...rowsOfFour,
    nodes: [
      { op: 'ReduceMean', inputs: ['x'], outputs: ['mean'], attributes: { axes: [0], keepdims: 1 } },
      { op: 'Sub', inputs: ['x', 'mean'], outputs: ['y'] },
    ],
    weights: [],
  };
}

function bytes(): OnnxGraph {
  return {
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    weights: [],
    inputs: [{ name: 'x', type: 'STRING', shape: ['N', 1] }],
    outputs: [{ name: 'y', type: 'STRING', shape: ['N', 1] }],
  };
}

/** One turn of the loop below, 2 × 128³ operations and a tanh, in microseconds: measured, ±50 % between machines. */
const turnUs = 30;
const side = 128;

/**
 * y = 2x + 1 + 0 × (the mean of `turns` matrix products). The products do not depend on x, yet must be computed:
 * an optimiser may not drop 0 × s, because s could be infinite.
 */
function slow(turns: number): OnnxGraph {
  const random = seededRandom(3);
  const square = [side, side];
  const body: OnnxGraph = {
    nodes: [
      { op: 'Identity', inputs: ['going'], outputs: ['goOn'] },
      { op: 'MatMul', inputs: ['state', 'w'], outputs: ['product'] },
      { op: 'Tanh', inputs: ['product'], outputs: ['next'] },
    ],
    weights: [],
    inputs: [
      { name: 'turn', type: 'INT64', shape: [] },
      { name: 'going', type: 'BOOL', shape: [] },
      { name: 'state', type: 'FP32', shape: square },
    ],
    outputs: [
      { name: 'goOn', type: 'BOOL', shape: [] },
      { name: 'next', type: 'FP32', shape: square },
    ],
  };
  return {
    ...rowsOfFour,
    nodes: [
      // Everything the loop needs is constant, but ONNX Runtime folds no node that holds a graph.
      { op: 'Loop', inputs: ['turns', 'go', 'start'], outputs: ['end'], attributes: { body } },
      { op: 'ReduceMean', inputs: ['end'], outputs: ['mean'], attributes: { axes: [0, 1], keepdims: 0 } },
      { op: 'Mul', inputs: ['mean', 'zero'], outputs: ['nothing'] },
      { op: 'Mul', inputs: ['x', 'two'], outputs: ['doubled'] },
      { op: 'Add', inputs: ['doubled', 'one'], outputs: ['sum'] },
      { op: 'Add', inputs: ['sum', 'nothing'], outputs: ['y'] },
    ],
    weights: [
      { name: 'turns', type: 'INT64', shape: [], fill: (part) => void part.writeBigInt64LE(BigInt(turns)) },
      { name: 'go', type: 'BOOL', shape: [], fill: (part) => void part.writeUInt8(1) },
      uniform(random, 'start', square, 1),
      // Variance 4/side: the state neither dies away (subnormal numbers would be slow) nor settles.
      uniform(random, 'w', square, side / 12),
      constant('zero', 0),
      constant('two', 2),
      constant('one', 1),
    ],
  };
}
