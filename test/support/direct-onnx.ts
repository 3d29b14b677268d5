import { InferenceSession } from 'onnxruntime-node';
import { ortTensor } from '../../bench/ort-feeds.js';
import type { Tensor } from '../../core/tensor.js';
import { bytesOfStrings } from './recorded-vectors.js';

/** ONNX Runtime called in this process, with nothing of ours in between: what the cluster's answers are held against. */
export class DirectModel {
  readonly #session: InferenceSession;

  static async open(file: string): Promise<DirectModel> {
    return new DirectModel(await InferenceSession.create(file, { intraOpNumThreads: 1, logSeverityLevel: 3 }));
  }

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  /** All outputs, for models of FP32 and BYTES outputs. */
  async run(inputs: readonly Tensor[]): Promise<Tensor[]> {
    const results = await this.#session.run(Object.fromEntries(inputs.map((input) => [input.name, ortTensor(input)])));
    return this.#session.outputNames.map((name) => {
      const result = results[name];
      if (result === undefined) throw new Error(`ONNX Runtime gave no output ${name}`);
      const { data, dims } = result;
      if (data instanceof Float32Array) {
        return {
          name,
          datatype: 'FP32',
          shape: dims,
          data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
        };
      }
      return { name, datatype: 'BYTES', shape: dims, data: bytesOfStrings(Array.from(data, String)) };
    });
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}
