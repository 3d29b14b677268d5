import { Tensor as OrtTensor } from 'onnxruntime-node';
import { ShoalError } from '../../core/errors.js';
import type { Device } from './device.js';
import { deviceText } from './device.js';
import { createSession } from './session.js';

/**
 * The smallest useful model, y = x + x on FP32 [2], as ONNX protobuf: ir_version 8, opset 13.
 * Field by field: ModelProto{1: 8, 7: graph{1: node{1: x, 1: x, 2: y, 4: "Add"}, 2: "g", 11: x, 12: y}, 8: {2: 13}}.
 */
function doublingModel(): Uint8Array {
  const field = (number: number, body: readonly number[]): number[] => [(number << 3) | 2, body.length, ...body];
  const text = (value: string): number[] => [...Buffer.from(value)];
  const tensor = (name: string): number[] => {
    const shape = field(1, [0x08, 2]);
    const type = field(1, [0x08, 1, ...field(2, shape)]);
    return [...field(1, text(name)), ...field(2, type)];
  };
  const node = [...field(1, text('x')), ...field(1, text('x')), ...field(2, text('y')), ...field(4, text('Add'))];
  const graph = [...field(1, node), ...field(2, text('g')), ...field(11, tensor('x')), ...field(12, tensor('y'))];
  return Uint8Array.from([0x08, 8, ...field(7, graph), ...field(8, [0x10, 13])]);
}

/** Runs a tiny model on the device. @throws PROVIDER_MISSING when the provider, its driver or the device is absent. */
export async function checkDevice(device: Device): Promise<void> {
  const session = await createSession(doublingModel(), {
    modelPath: '(built-in check)',
    device,
    session: {
      intraOpThreads: undefined,
      interOpThreads: undefined,
      graphOptimization: undefined,
      provider: undefined,
    },
    intraOpThreads: 1,
  });
  const { y } = await session.run({ x: new OrtTensor('float32', Float32Array.of(1, 2), [2]) });
  const values = [...((y?.data ?? []) as Float32Array)];
  if (values[0] !== 2 || values[1] !== 4) {
    throw new ShoalError(
      'PROVIDER_MISSING',
      `The device ${deviceText(device)} computes wrongly: 1+1, 2+2 gave ${values}.`,
    );
  }
}
