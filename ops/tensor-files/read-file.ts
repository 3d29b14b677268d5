import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { ShoalError } from '../../core/errors.js';
import type { FileContent } from './file-tensor.js';
import { readJsonTensors } from './json-tensor.js';
import { readNpy } from './npy.js';
import { readPng } from './png.js';
import { readTensorProto } from './tensor-proto.js';

/** Standard input's name on the command line. */
export const standardInput = '-';

/** How a file is called in messages. */
export const labelOf = (name: string): string => (name === standardInput ? 'standard input' : name);

/**
 * Reads a file of tensors or an image, by its ending; `-` is JSON from standard input.
 * @throws BAD_FILE
 */
export async function readInputFile(name: string): Promise<FileContent> {
  let bytes: Uint8Array;
  try {
    bytes = name === standardInput ? await readStandardInput() : await readFile(name);
  } catch (thrown) {
    const { code = '' } = thrown as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder' : `cannot be read (${code})`;
    throw new ShoalError('BAD_FILE', `The file ${name} ${why}.`, { cause: thrown });
  }
  return parseInputFile(name, bytes);
}

async function readStandardInput(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** As `readInputFile`, of bytes already read. */
export function parseInputFile(name: string, bytes: Uint8Array): FileContent {
  const label = labelOf(name);
  const ending = name === standardInput ? '.json' : path.extname(name).toLowerCase();
  switch (ending) {
    case '.png':
      return { kind: 'image', image: readPng(bytes, label) };
    case '.npy':
      return { kind: 'tensors', tensors: [readNpy(bytes, label)] };
    case '.pb':
      return { kind: 'tensors', tensors: [readTensorProto(bytes, label)] };
    case '.json':
      return { kind: 'tensors', tensors: readJsonTensors(bytes, label) };
    default:
      throw new ShoalError('BAD_FILE', `${label} ends in "${ending}"; expected .png, .npy, .pb or .json.`);
  }
}
