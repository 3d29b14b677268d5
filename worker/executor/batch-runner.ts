import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { machineNowUs } from '../../core/clock.js';
import { ShoalError } from '../../core/errors.js';
import { bytesOf, datatypeOfOrt, isOrtType, tensorOver } from './ort-tensor.js';
import type { Execution, FromExecutor, Placement } from './protocol.js';
import { type LoadedModel, oneLine } from './session.js';
import { emptySlab, outOfSpace, readSlab, writeParts } from './slab.js';

export interface SlabPair {
  readonly inputFd: number;
  readonly outputFd: number;
}

const padding = new Uint8Array(8);
const growthBytes = 64 * 1024;

/** Executes batches in the executor process: slab → ONNX Runtime → slab. One at a time. */
export class BatchRunner {
  readonly #session: InferenceSession;
  readonly #inputNames: readonly string[];
  readonly #outputNames: readonly string[];
  readonly #slabs: readonly SlabPair[];
  readonly #slabDir: string;
  #memory = new Uint8Array(growthBytes);

  constructor(model: LoadedModel, slabs: readonly SlabPair[], slabDir: string) {
    this.#session = model.session;
    this.#inputNames = model.observed.inputs.map((spec) => spec.name);
    this.#outputNames = model.observed.outputs.map((spec) => spec.name);
    this.#slabs = slabs;
    this.#slabDir = slabDir;
  }

  /** Never throws: what goes wrong with a batch is told as `refused`. */
  async run(execution: Execution): Promise<FromExecutor> {
    const { sequence } = execution;
    try {
      return await this.#execute(execution);
    } catch (thrown) {
      const error =
        thrown instanceof ShoalError
          ? thrown
          : new ShoalError('EXECUTION_FAILED', `ONNX Runtime could not run the batch: ${oneLine(thrown)}.`);
      if (error.code === 'EXECUTION_FAILED') {
        process.stderr.write(`${execution.traceparent === '' ? '' : `[${execution.traceparent}] `}${error.message}\n`);
      }
      return { kind: 'refused', sequence, code: error.code, message: error.message };
    }
  }

  async #execute(execution: Execution): Promise<FromExecutor> {
    const { sequence, slot } = execution;
    const slab = this.#slabs[slot];
    if (slab === undefined) throw new ShoalError('INTERNAL', `There is no slab slot ${slot}.`);
    const startUs = machineNowUs();
    if (startUs > execution.expiresAtUs) {
      throw new ShoalError('DEADLINE_EXPIRED', 'The deadline passed while the batch waited at its executor.');
    }
    const memory = this.#read(slab.inputFd, execution.inputBytes);
    if (memory[0] !== 0) throw new ShoalError('CANCELLED', 'The batch was given up before it ran.');
    const feeds: Record<string, OrtTensor> = {};
    for (const placement of execution.inputs) {
      feeds[this.#inputNames[placement.index] ?? ''] = tensorOver(memory.buffer, placement);
    }
    const fetches = execution.outputs.map((index) => this.#outputNames[index] ?? '');
    const runUs = machineNowUs();
    const results = await this.#session.run(feeds, fetches);
    const writeUs = machineNowUs();
    const placements: Placement[] = [];
    const outputBytes = this.#write(slab.outputFd, execution.outputs, fetches, results, placements);
    return {
      kind: 'executed',
      executed: {
        sequence,
        readUs: runUs - startUs,
        executeUs: writeUs - runUs,
        writeUs: machineNowUs() - writeUs,
        outputBytes,
        outputs: placements,
      },
    };
  }

  #read(fd: number, byteLength: number): Uint8Array<ArrayBuffer> {
    if (this.#memory.length < byteLength) {
      this.#memory = new Uint8Array(Math.ceil(byteLength / growthBytes) * growthBytes);
    }
    readSlab(fd, this.#memory, byteLength);
    return this.#memory;
  }

  #write(
    fd: number,
    indices: readonly number[],
    names: readonly string[],
    results: InferenceSession.ReturnType,
    placements: Placement[],
  ): number {
    const parts: Uint8Array[] = [];
    let offset = 0;
    for (let i = 0; i < names.length; i++) {
      const tensor = results[names[i] ?? ''] as OrtTensor | undefined;
      if (tensor === undefined || !isOrtType(tensor.type)) {
        throw new ShoalError('EXECUTION_FAILED', `The model gave no tensor for its output "${names[i]}".`);
      }
      const data = bytesOf(tensor);
      // Outputs start on multiples of eight, so that readers may lay typed arrays over them.
      const gap = -offset & 7;
      if (gap > 0) {
        parts.push(padding.subarray(0, gap));
        offset += gap;
      }
      parts.push(data);
      placements.push({
        index: indices[i] ?? 0,
        datatype: datatypeOfOrt[tensor.type],
        shape: tensor.dims,
        offset,
        byteLength: data.length,
      });
      offset += data.length;
    }
    try {
      writeParts(fd, parts, offset, 0);
    } catch (thrown) {
      const full = outOfSpace(thrown, this.#slabDir, offset);
      if (full === undefined) throw thrown;
      emptySlab(fd);
      throw full;
    }
    return offset;
  }
}
