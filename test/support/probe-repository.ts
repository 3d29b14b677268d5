import { mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { generateBenchModels, type ProbeModel } from '../../bench/models/generate.js';
import { writeOnnx } from '../../bench/models/onnx-writer.js';
import { packageRoot } from '../../platform/package-root.js';

/** Most rows of one execution of every generated model. */
export const probeBatchSize = 64;

/**
 * Writes `wide`: FP32 x[N, L] → y = 2x + 1, for any L. Requests of different L cannot share a batch, and every element
 * of an answer tells which element of which request it is of.
 */
export async function writeWideModel(dir: string): Promise<void> {
  const tensor = (name: string) => ({ name, type: 'FP32', shape: ['N', 'L'] }) as const;
  const constant = (name: string, value: number) =>
    ({ name, type: 'FP32', shape: [], fill: (part: Buffer) => void part.writeFloatLE(value) }) as const;
  await writeOnnx(path.join(dir, 'wide/1/model.onnx'), {
    inputs: [tensor('x')],
    outputs: [tensor('y')],
    weights: [constant('two', 2), constant('one', 1)],
    nodes: [
      { op: 'Mul', inputs: ['x', 'two'], outputs: ['doubled'] },
      { op: 'Add', inputs: ['doubled', 'one'], outputs: ['y'] },
    ],
  });
  await writeFile(
    path.join(dir, 'wide/config.pbtxt'),
    `name: "wide"
max_batch_size: ${probeBatchSize}
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
`,
  );
}

/** A repository of generated models and, by link, of bundled ones. */
export async function probeRepository(
  dir: string,
  generated: readonly (ProbeModel | 'tiny' | 'seq' | 'wide')[],
  bundled: readonly ('mnist' | 'magika')[] = [],
): Promise<string> {
  await mkdir(dir, { recursive: true });
  await generateBenchModels(
    dir,
    generated.filter((name) => name !== 'wide'),
  );
  if (generated.includes('wide')) await writeWideModel(dir);
  for (const name of bundled) await symlink(path.join(packageRoot, 'examples/models', name), path.join(dir, name));
  return dir;
}
