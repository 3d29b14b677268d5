import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';

export interface FileEntry {
  readonly key: string;
  /** Plain JavaScript value: scalar, list or map. */
  readonly value: unknown;
  /** `shoal.yaml:3` */
  readonly origin: string;
}

export interface FileProblem {
  readonly origin: string;
  readonly message: string;
}

export type FileContent =
  | { readonly ok: true; readonly entries: readonly FileEntry[] }
  | { readonly ok: false; readonly problem: FileProblem };

/** Reads a settings file: one map of scalars and lists. `label` is how the file is called in messages. */
export function readYaml(text: string, label: string): FileContent {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const fault = document.errors[0];
  const at = (offset: number | undefined): string =>
    offset === undefined ? label : `${label}:${lines.linePos(offset).line}`;
  if (fault !== undefined) {
    const firstLine = fault.message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? '';
    return { ok: false, problem: { origin: at(fault.pos[0]), message: `is not YAML: ${firstLine}` } };
  }
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return { ok: true, entries: [] };
  if (!isMap(root)) {
    return {
      ok: false,
      problem: { origin: at(root.range?.[0]), message: 'should hold lines like `grpc-port: 8001`' },
    };
  }
  const entries = root.items.map(({ key, value }): FileEntry => {
    const name = isScalar(key) ? String(key.value) : String(key);
    const offset = isScalar(key) ? key.range?.[0] : undefined;
    const plain = isScalar(value) || isSeq(value) || isMap(value) ? value.toJS(document) : value;
    return { key: name, value: plain, origin: at(offset) };
  });
  return { ok: true, entries };
}
