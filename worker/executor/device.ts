import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { ShoalError } from '../../core/errors.js';

export type Provider = 'cpu' | 'cuda' | 'tensorrt' | 'webgpu';

/** One place to run sessions on: an execution provider and, for GPUs, which of them. */
export interface Device {
  readonly provider: Provider;
  /** 0 for the CPU. */
  readonly ordinal: number;
}

export const cpuDevice: Device = { provider: 'cpu', ordinal: 0 };

/** `cpu`, `cuda:0`, `webgpu:1`: what operators write and read. */
export const deviceText = ({ provider, ordinal }: Device): string =>
  provider === 'cpu' ? 'cpu' : `${provider}:${ordinal}`;

export const isGpu = (device: Device): boolean => device.provider !== 'cpu';

/** ONNX Runtime's name for a provider library, beside the binding. */
function hasProviderLibrary(provider: 'cuda' | 'tensorrt'): boolean {
  const binding = path.dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  const folder = path.join(binding, 'bin', 'napi-v6', process.platform, process.arch);
  return fs.existsSync(path.join(folder, `libonnxruntime_providers_${provider}.so`));
}

/** How a missing provider can be had, as one sentence. */
export const providerRemedy: Readonly<Record<Provider, string>> = {
  cpu: 'Reinstall the npm package onnxruntime-node.',
  cuda: 'Install it with `ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node --foreground-scripts`, with the CUDA 12 and cuDNN 9 libraries on the library path.',
  tensorrt:
    'Install it with `ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node --foreground-scripts`, with the TensorRT libraries on the library path.',
  webgpu:
    "It needs a Vulkan driver and the package libvulkan1; a machine without a GPU can use the software driver of Debian's chromium package with `VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json`.",
};

const entryForm = /^(?:(cpu)|(gpu|cuda|tensorrt|webgpu)(?::(\d{1,3}))?)$/;

/**
 * Reads `--devices`: `cpu`, `cuda:0`, `tensorrt:0`, `webgpu:0`, or `gpu:0` for whichever GPU provider this machine
 * has (CUDA if its library is installed, else WebGPU). A missing ordinal is 0.
 * @throws BAD_SETTING for an entry that is none of these or is given twice, PROVIDER_MISSING where the library of a
 * provider is not installed.
 */
export function parseDevices(entries: readonly string[]): Device[] {
  if (entries.length === 0)
    throw new ShoalError('BAD_SETTING', 'No device is given: expected at least one, such as cpu.');
  const seen = new Set<string>();
  return entries.map((entry) => {
    const match = entryForm.exec(entry.trim());
    if (match === null) {
      throw new ShoalError(
        'BAD_SETTING',
        `The device "${entry}" is not known: expected cpu, gpu:N, cuda:N, tensorrt:N or webgpu:N.`,
      );
    }
    const device = match[1] === 'cpu' ? cpuDevice : gpuDevice(match[2] ?? 'gpu', Number(match[3] ?? 0), entry);
    const text = deviceText(device);
    if (seen.has(text)) throw new ShoalError('BAD_SETTING', `The device ${text} is given twice.`);
    seen.add(text);
    return device;
  });
}

function gpuDevice(name: string, ordinal: number, entry: string): Device {
  if (name === 'webgpu' || (name === 'gpu' && !hasProviderLibrary('cuda'))) {
    if (ordinal === 0) return { provider: 'webgpu', ordinal };
    throw new ShoalError(
      'BAD_SETTING',
      `The device "${entry}" cannot be chosen: WebGPU always takes the machine's first GPU, webgpu:0.`,
    );
  }
  const provider = name === 'tensorrt' ? 'tensorrt' : 'cuda';
  if (!hasProviderLibrary(provider)) {
    throw providerMissing(provider, `The device "${entry}" cannot be used: its provider library is not installed.`);
  }
  return { provider, ordinal };
}

export const providerMissing = (provider: Provider, sentence: string): ShoalError =>
  new ShoalError('PROVIDER_MISSING', `${sentence} ${providerRemedy[provider]}`);
