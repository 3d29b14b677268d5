import type { Tensor } from '../../core/tensor.js';
import { decodeElements } from '../tensor-files/elements.js';

export interface ClassScore {
  readonly index: number;
  readonly label: string;
  /** As the model gave it. */
  readonly score: number;
  /** The score itself when the scores of the row are probabilities, else its softmax. */
  readonly probability: number;
}

export interface Classification {
  readonly output: string;
  /** Whether the model's scores are probabilities already. */
  readonly isProbability: boolean;
  /** Best first, for each row. */
  readonly rows: readonly (readonly ClassScore[])[];
}

/** Sums of 32-bit (or 16-bit) softmax outputs stray from one by this much at most. */
const sumTolerance = 5e-3;

const isProbabilityRow = (row: readonly number[]): boolean =>
  row.every((value) => value >= 0 && value <= 1 + sumTolerance) &&
  Math.abs(row.reduce((sum, value) => sum + value, 0) - 1) <= sumTolerance;

/** Softmax with the maximum taken out first, so that large scores do not overflow. */
export function softmax(row: readonly number[]): number[] {
  const most = row.reduce((max, value) => Math.max(max, value), Number.NEGATIVE_INFINITY);
  const powers = row.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}

/**
 * Reads an output as scores of classes along its last axis. Undefined when it is not one: with labels, their number
 * must be that of the classes; without, the scores must be probabilities, unless `forced`.
 */
export function classify(
  output: Tensor,
  labels: readonly string[] | undefined,
  top: number,
  forced: boolean,
): Classification | undefined {
  const classes = output.shape.at(-1) ?? 0;
  const isFloat = output.datatype.startsWith('FP') || output.datatype === 'BF16';
  if (!isFloat || classes < 2) return undefined;
  const scores = decodeElements(output.datatype, output.data).map(Number);
  const rows = Array.from({ length: scores.length / classes }, (_, row) =>
    scores.slice(row * classes, (row + 1) * classes),
  );
  const isProbability = rows.length > 0 && rows.every(isProbabilityRow);
  if (labels === undefined ? !isProbability && !forced : labels.length !== classes) return undefined;
  const best = (row: readonly number[]): ClassScore[] => {
    const probabilities = isProbability ? row : softmax(row);
    return row
      .map((score, index) => ({
        index,
        label: labels?.[index] ?? `class ${index}`,
        score,
        probability: probabilities[index] ?? 0,
      }))
      .sort((a, b) => b.score - a.score || a.index - b.index)
      .slice(0, top);
  };
  return { output: output.name, isProbability, rows: rows.map(best) };
}
