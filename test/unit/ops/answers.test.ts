import { describe, expect, test } from 'vitest';
import type { Datatype } from '../../../core/datatype.js';
import type { Tensor } from '../../../core/tensor.js';
import {
  classificationText,
  durationText,
  readReceipt,
  tensorText,
  timingLine,
} from '../../../ops/infer/answer-text.js';
import { classify, softmax } from '../../../ops/infer/classification.js';
import { type Element, encodeElements } from '../../../ops/tensor-files/elements.js';
import { bar, columns } from '../../../ops/terminal/table.js';

function output(datatype: Datatype, shape: number[], ...elements: Element[]): Tensor {
  return { name: 'scores', datatype, shape, data: encodeElements(datatype, elements, 'nearest', '') };
}

describe('classification', () => {
  const labels = ['cat', 'dog', 'fish'];

  test('scores become probabilities by softmax, best first, and say so', () => {
    const found = classify(output('FP32', [2, 3], 1, 3, 2, 1000, 0, 0), labels, 2, false);
    expect(found?.isProbability).toBe(false);
    expect(found?.rows.map((row) => row.map(({ label }) => label))).toEqual([
      ['dog', 'fish'],
      ['cat', 'dog'],
    ]);
    expect(found?.rows[0]?.[0]?.probability).toBeCloseTo(Math.exp(3) / (Math.exp(1) + Math.exp(2) + Math.exp(3)), 6);
    expect(found?.rows[1]?.[0]?.probability).toBe(1);
    expect(found && classificationText(found)).toBe(
      [
        'row 0',
        'CLASS  SCORE  PROBABILITY',
        'dog    3.000      66.52 %  ████████████████',
        'fish   2.000      24.47 %  █████▉',
        '',
        'row 1',
        'CLASS     SCORE  PROBABILITY',
        'cat    1000.000     100.00 %  ████████████████████████',
        'dog       0.000       0.00 %',
        '(probability is the softmax of the score: scores holds no probabilities)',
      ].join('\n'),
    );
  });

  test('probabilities stay as they are, equal scores in order of class', () => {
    const found = classify(output('FP32', [1, 3], 0.25, 0.5, 0.25), labels, 3, false);
    expect(found?.isProbability).toBe(true);
    expect(found?.rows[0]?.map(({ label, probability }) => [label, probability])).toEqual([
      ['dog', 0.5],
      ['cat', 0.25],
      ['fish', 0.25],
    ]);
    expect(found && classificationText(found)).not.toContain('SCORE');
  });

  test('what is no classification is left alone', () => {
    expect(classify(output('FP32', [1, 3], 1, 2, 3), undefined, 5, false)).toBeUndefined();
    expect(classify(output('FP32', [1, 2], 1, 2), labels, 5, true)).toBeUndefined();
    expect(classify(output('INT64', [1, 3], 1n, 2n, 3n), labels, 5, true)).toBeUndefined();
    expect(classify(output('FP32', [], 1), undefined, 5, true)).toBeUndefined();
    expect(classify(output('FP32', [0, 3]), undefined, 5, false)).toBeUndefined();
  });

  test('without labels, probabilities or --top are enough', () => {
    expect(classify(output('FP16', [3], 0.5, 0.25, 0.25), undefined, 1, false)?.rows[0]?.[0]?.label).toBe('class 0');
    expect(classify(output('FP64', [1, 3], 1, 9, 3), undefined, 1, true)?.rows[0]?.[0]?.label).toBe('class 1');
  });

  test('softmax survives scores that overflow', () => {
    expect(softmax([1e308, 1e308])).toEqual([0.5, 0.5]);
    expect(softmax([-1e308, 0])).toEqual([0, 1]);
  });
});

describe('other outputs', () => {
  test.each([
    [output('FP32', [1, 3], 1, -0.123456789, 1e20), 'scores FP32 [1,3] = 1 -0.12346 100000000000000000000'],
    [output('INT64', [2], 1n, 2n), 'scores INT64 [2] = 1 2'],
    [output('BOOL', [], true), 'scores BOOL [] = true'],
    [output('BYTES', [2], Buffer.from('hé'), Buffer.from('"')), 'scores BYTES [2] = "hé" "\\""'],
    [output('UINT8', [10], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 'scores UINT8 [10] = 1 2 3 4 5 6 7 8 … (10 values)'],
  ])('shape and first values', (tensor, text) => {
    expect(tensorText(tensor)).toBe(text);
  });
});

describe('timing', () => {
  test.each([
    [210, '0.21 ms'],
    [9_990, '9.99 ms'],
    [14_400, '14 ms'],
    [1_300_000, '1.30 s'],
  ])('%i µs is %s', (us, text) => {
    expect(durationText(us)).toBe(text);
  });

  test('the receipt is told in words; a server without one still has its round trip', () => {
    const receipt = readReceipt({
      shoal_queue_us: 210,
      shoal_input_us: 30,
      shoal_execute_us: 1200,
      shoal_output_us: 20,
      shoal_batch_rows: 4,
      shoal_worker: 'w1',
      shoal_instance: 'w1:m/1#0',
      shoal_attempt: 2,
    });
    expect(timingLine(1900, receipt)).toBe(
      'answered in 1.90 ms: 0.21 ms in the queue, 1.20 ms in ONNX Runtime, 0.05 ms moving tensors; a batch of 4 rows on w1:m/1#0, at attempt 2',
    );
    expect(readReceipt({})).toBeUndefined();
    expect(timingLine(1900, undefined)).toBe('answered in 1.90 ms');
  });
});

test('tables line up and end without blanks', () => {
  expect(
    columns(
      ['name', 'rows', 'why'],
      [
        ['a', 5, ''],
        ['longer', 123, 'b'],
      ],
      [1],
    ),
  ).toBe(['NAME    ROWS  WHY', 'a          5', 'longer   123  b'].join('\n'));
  expect([bar(0, 4), bar(0.5, 4), bar(0.53, 4), bar(1, 4), bar(7, 4)]).toEqual(['', '██', '██▏', '████', '████']);
});
