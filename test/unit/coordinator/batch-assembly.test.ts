import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkRequest } from '../../../coordinator/admission/check-request.js';
import { assembleBatch, splitResult } from '../../../coordinator/dispatch/batch-assembly.js';
import { Call, type CallPiece } from '../../../coordinator/dispatch/call.js';
import type { InferRequest } from '../../../core/inference.js';
import type { Batch, BatchResult } from '../../../core/link.js';
import { executedRows, type ModelSpec, naturalBatching } from '../../../core/model.js';
import type { Tensor } from '../../../core/tensor.js';
import { bytesOfStrings, elementsOf } from '../../support/recorded-vectors.js';
import { doublingSpec, floats } from '../../support/simulated-worker.js';

const mirroredNames = ['y', 'shown', 'said', 'paired'];

/** The model gives back what it gets, so that an answer shows whose input it was, and where padding was left in it. */
const mirrored = (fixedRows: readonly number[], more: Partial<ModelSpec> = {}): ModelSpec => {
  const tensors = (names: readonly string[]) => [
    { name: names[0] ?? '', datatype: 'FP32', shape: [-1, -1, 2] } as const,
    { name: names[1] ?? '', datatype: 'INT8', shape: [-1, -1] } as const,
    { name: names[2] ?? '', datatype: 'BYTES', shape: [-1, 1] } as const,
    { name: names[3] ?? '', datatype: 'INT16', shape: [-1, -1, -1] } as const,
  ];
  return doublingSpec({
    maxBatchSize: 8,
    inputs: tensors(['x', 'mask', 'text', 'pairs']),
    outputs: tensors(mirroredNames),
    batching: { ...naturalBatching, fixedRows },
    buckets: {
      lengths: [4, 16],
      inputs: [
        { tensor: 'x', axis: 1, padValue: 0.5 },
        { tensor: 'mask', axis: 1, padValue: -1 },
        { tensor: 'pairs', axis: 1, padValue: 3 },
        { tensor: 'pairs', axis: 2, padValue: 3 },
      ],
      outputs: [
        { tensor: 'y', axis: 1, padValue: 0 },
        { tensor: 'shown', axis: 1, padValue: 0 },
        { tensor: 'paired', axis: 1, padValue: 0 },
        { tensor: 'paired', axis: 2, padValue: 0 },
      ],
    },
    ...more,
  });
};

/** `seed` makes the values of one request differ from those of another. */
function inputsOf(rows: number, length: number, seed: number): Tensor[] {
  const values = Array.from({ length: rows * length * 2 }, (_, i) => 1000 * seed + i);
  return [
    { name: 'x', datatype: 'FP32', shape: [rows, length, 2], data: floats(...values) },
    { name: 'mask', datatype: 'INT8', shape: [rows, length], data: new Uint8Array(rows * length).fill(seed) },
    {
      name: 'text',
      datatype: 'BYTES',
      shape: [rows, 1],
      data: bytesOfStrings(Array.from({ length: rows }, (_, row) => `${seed}:${'x'.repeat(row)}`)),
    },
    {
      name: 'pairs',
      datatype: 'INT16',
      shape: [rows, length, length],
      data: new Uint8Array(Int16Array.from({ length: rows * length * length }, (_, i) => 1000 * seed + i).buffer),
    },
  ];
}

function admit(spec: ModelSpec, inputs: readonly Tensor[]): Call {
  const request: InferRequest = { model: 'double', version: '', id: '', parameters: {}, inputs, outputs: [] };
  return new Call({
    spec,
    laneKey: 'double/1',
    request,
    admitted: checkRequest(spec, request),
    context: { arrivedMs: 0, deadlineMs: Number.POSITIVE_INFINITY, traceparent: '', caller: 'test' },
    deadlineMs: Number.POSITIVE_INFINITY,
    terms: { level: 0, patienceMs: Number.POSITIVE_INFINITY, yields: false },
    span: undefined,
    reply: () => undefined,
  });
}

const rowsOf = (pieces: readonly CallPiece[]): number => pieces.reduce((sum, piece) => sum + piece.rows, 0);

function assembled(pieces: readonly CallPiece[]): Batch {
  return assembleBatch(1, pieces, rowsOf(pieces), 0, '', 'cuda:1');
}

function mirror(batch: Batch, names: readonly string[] = mirroredNames): BatchResult {
  const outputs = batch.inputs.map(({ datatype, shape, parts }, i) => {
    return { name: names[i] ?? '', datatype, shape, data: Buffer.concat(parts) };
  });
  return { batchId: 1, instance: '0', outputs, timing: { waitUs: 0, inputUs: 0, executeUs: 0, outputUs: 0 } };
}

const batchOfRequests = fc
  .record({
    fixedRows: fc.constantFrom([], [4, 8], [1, 3, 8]),
    longest: fc.constantFrom(4, 16),
    requests: fc.array(fc.record({ rows: fc.integer({ min: 1, max: 3 }), shorter: fc.nat(11) }), {
      minLength: 1,
      maxLength: 4,
    }),
  })
  .map(({ fixedRows, longest, requests }) => {
    let left = 8;
    const fitting = requests.filter(({ rows }) => {
      left -= rows;
      return left >= 0;
    });
    // Any length of the bucket: 1 to 4, or 5 to 16.
    const bucket = longest === 4 ? 4 : 12;
    return {
      fixedRows,
      requests: fitting.map(({ rows, shorter }) => ({ rows, length: longest - (shorter % bucket) })),
    };
  });

describe('a batch', () => {
  it('gives every request back exactly its own, whatever was padded and filled up', () => {
    fc.assert(
      fc.property(batchOfRequests, ({ fixedRows, requests }) => {
        const spec = mirrored(fixedRows);
        const sent = requests.map(({ rows, length }, seed) => inputsOf(rows, length, seed + 1));
        const pieces = sent.map((inputs) => admit(spec, inputs).pieces[0] as CallPiece);
        expect(new Set(pieces.map((piece) => piece.shapeKey)).size).toBe(1);
        const batch = assembled(pieces);
        expect(batch.rows).toBe(executedRows(spec.batching, rowsOf(pieces)));
        for (const { shape, parts, byteLength } of batch.inputs) {
          expect(shape[0]).toBe(batch.rows);
          expect(parts.reduce((sum, part) => sum + part.length, 0)).toBe(byteLength);
        }
        const shares = splitResult(mirror(batch), pieces, rowsOf(pieces));
        for (const [i, inputs] of sent.entries()) {
          const got = (shares[i] ?? []).map((tensor) => ({ ...tensor, data: Buffer.from(tensor.data) }));
          expect(got).toEqual(
            inputs.map((tensor, t) => ({ ...tensor, name: mirroredNames[t], data: Buffer.from(tensor.data) })),
          );
        }
      }),
      { numRuns: 500 },
    );
  });

  it('holds the declared value wherever a sequence has ended, in empty rows too', () => {
    const pieces = admit(mirrored([2]), inputsOf(1, 3, 7)).pieces;
    const [x, mask, text, pairs] = mirror(assembled(pieces)).outputs as [Tensor, Tensor, Tensor, Tensor];
    expect([x.shape, mask.shape, text.shape, pairs.shape]).toEqual([
      [2, 4, 2],
      [2, 4],
      [2, 1],
      [2, 4, 4],
    ]);
    expect(elementsOf(x)).toEqual([7000, 7001, 7002, 7003, 7004, 7005, ...Array.from({ length: 10 }, () => 0.5)]);
    expect(elementsOf(mask)).toEqual([7, 7, 7, -1, -1, -1, -1, -1]);
    expect(elementsOf(text)).toEqual(['7:', '']);
    expect(
      elementsOf(pairs)
        .map((value) => (value === 3 ? '.' : 'x'))
        .join(''),
    ).toBe(`xxx.xxx.xxx.....${'.'.repeat(16)}`);
  });

  it('copies nothing where a sequence has the length of its bucket, or is longer than all of them', () => {
    for (const length of [4, 16, 17]) {
      const inputs = inputsOf(2, length, 1);
      const batch = assembled(admit(mirrored([]), inputs).pieces);
      expect(batch.inputs.map(({ parts }) => parts[0]?.buffer)).toEqual(inputs.map(({ data }) => data.buffer));
      expect(batch.inputs[0]?.shape).toEqual([2, length, 2]);
    }
  });

  it('is filled up by slices of memory that all batches share', () => {
    const large = doublingSpec({
      maxBatchSize: 8,
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 40_000] }],
      batching: { ...naturalBatching, fixedRows: [8] },
    });
    const [input] = [0, 1].map(
      () =>
        assembled(
          admit(large, [{ name: 'x', datatype: 'FP32', shape: [1, 40_000], data: new Uint8Array(160_000) }]).pieces,
        ).inputs[0],
    );
    expect(input?.byteLength).toBe(8 * 160_000);
    expect(new Set(input?.parts.slice(1).map((part) => part.buffer)).size).toBe(1);
  });

  it('goes to the device it is bound to, and a request of too many rows is padded part by part', () => {
    const spec = mirrored([8]);
    const sent = inputsOf(11, 3, 1);
    const { pieces } = admit(spec, sent);
    expect(pieces.map(({ rows }) => rows)).toEqual([8, 3]);
    const parts = pieces.map((piece) => {
      const batch = assembled([piece]);
      expect(batch).toMatchObject({ rows: 8, device: 'cuda:1' });
      return splitResult(mirror(batch), [piece], piece.rows)[0]?.[0]?.data ?? new Uint8Array();
    });
    expect(Buffer.concat(parts)).toEqual(Buffer.from(sent[0]?.data ?? []));
  });
});

describe('a result that is not what was declared', () => {
  const { pieces } = admit(mirrored([2]), inputsOf(1, 3, 1));
  const fail = (change: (outputs: Tensor[]) => void) => () => {
    const result = mirror(assembled(pieces));
    const outputs = result.outputs.map((output) => ({ ...output }));
    change(outputs);
    splitResult({ ...result, outputs }, pieces, 1);
  };

  it('is refused when an output has another length along its sequence axis', () => {
    const run = fail((outputs) => {
      outputs[1] = { name: 'shown', datatype: 'INT8', shape: [2, 3], data: new Uint8Array(6) };
    });
    expect(run).toThrow(
      "Output 'shown' of model 'double' has shape [2,3] for sequences of 4: axis 1 has not that length; mend the parameter 'sequence_axes' in its config.pbtxt.",
    );
  });

  it('is refused when an output lacks the axis', () => {
    const run = fail((outputs) => {
      outputs[1] = { name: 'shown', datatype: 'INT8', shape: [2], data: new Uint8Array(2) };
    });
    expect(run).toThrow(/has shape \[2\] for sequences of 4/);
  });

  it('is refused when it has the rows that were asked for and not those that were executed', () => {
    const run = fail((outputs) => {
      outputs[0] = { name: 'y', datatype: 'FP32', shape: [1, 4, 2], data: new Uint8Array(32) };
    });
    expect(run).toThrow(/has shape \[1,4,2\] for a batch of 2 rows/);
  });
});

it.each([
  [[], 5, 5],
  [[8, 64], 1, 8],
  [[8, 64], 8, 8],
  [[8, 64], 9, 64],
])('with fixed sizes %j, %d rows run as %d', (fixedRows, rows, expected) => {
  expect(executedRows({ ...naturalBatching, fixedRows }, rows)).toBe(expected);
});
