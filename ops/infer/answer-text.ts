import type { Parameters } from '../../core/inference.js';
import { shapeText, type Tensor } from '../../core/tensor.js';
import { decodeElements, type Element } from '../tensor-files/elements.js';
import { bar, columns } from '../terminal/table.js';
import type { Classification } from './classification.js';

/** Where the time of one answer went, as the coordinator told it in the response's parameters. */
export interface ReceiptText {
  readonly queueUs: number;
  readonly inputUs: number;
  readonly executeUs: number;
  readonly outputUs: number;
  readonly batchRows: number;
  readonly worker: string;
  readonly instance: string;
  readonly attempt: number;
}

/** Ask for the receipt with the request parameter `shoal_timing`; other servers do not know it and send none. */
export function readReceipt(parameters: Parameters): ReceiptText | undefined {
  const number = (name: string): number => Number(parameters[name] ?? Number.NaN);
  const receipt = {
    queueUs: number('shoal_queue_us'),
    inputUs: number('shoal_input_us'),
    executeUs: number('shoal_execute_us'),
    outputUs: number('shoal_output_us'),
    batchRows: number('shoal_batch_rows'),
    worker: String(parameters.shoal_worker ?? ''),
    instance: String(parameters.shoal_instance ?? ''),
    attempt: number('shoal_attempt'),
  };
  return Number.isNaN(receipt.executeUs) ? undefined : receipt;
}

/** `0.21 ms`, `14 ms`, `1.30 s` */
export function durationText(us: number): string {
  if (us >= 1e6) return `${(us / 1e6).toPrecision(3)} s`;
  if (us >= 1e4) return `${Math.round(us / 1e3)} ms`;
  return `${(us / 1e3).toFixed(2)} ms`;
}

export function timingLine(roundTripUs: number, receipt: ReceiptText | undefined): string {
  if (receipt === undefined) return `answered in ${durationText(roundTripUs)}`;
  const { queueUs, inputUs, executeUs, outputUs, batchRows, worker, instance, attempt } = receipt;
  const steps = [
    `${durationText(queueUs)} in the queue`,
    `${durationText(executeUs)} in ONNX Runtime`,
    `${durationText(inputUs + outputUs)} moving tensors`,
  ];
  const company = batchRows === 1 ? 'a batch of 1 row' : `a batch of ${batchRows} rows`;
  // An instance's name usually begins with its worker's.
  const place = instance.startsWith(worker) ? instance : [worker, instance].filter((name) => name !== '').join(', ');
  const again = attempt > 1 ? `, at attempt ${attempt}` : '';
  return `answered in ${durationText(roundTripUs)}: ${steps.join(', ')}; ${company} on ${place}${again}`;
}

const barWidth = 24;
const rounded = (value: number): string =>
  Number.isInteger(value) && Math.abs(value) < 1e6 ? String(value) : String(Number(value.toPrecision(5)));

/** With a fixed number of decimals where that shows the size, so that a column lines up. */
const scoreText = (score: number): string => {
  const size = Math.abs(score);
  return size === 0 || (size >= 0.01 && size < 1e5) ? score.toFixed(3) : score.toExponential(2);
};
const percent = (probability: number): string => `${(probability * 100).toFixed(2)} %`;

/** Best classes of every row as a table, with a bar for the probability. */
export function classificationText(found: Classification): string {
  const tables = found.rows.map((row, index) => {
    const head = found.isProbability ? ['class', 'probability', ''] : ['class', 'score', 'probability', ''];
    const cells = row.map(({ label, score, probability }) => {
      const last = [percent(probability), bar(probability, barWidth)];
      return found.isProbability ? [label, ...last] : [label, scoreText(score), ...last];
    });
    const title = found.rows.length > 1 ? `row ${index}\n` : '';
    return title + columns(head, cells, found.isProbability ? [1] : [1, 2]);
  });
  const remark = found.isProbability
    ? ''
    : `\n(probability is the softmax of the score: ${found.output} holds no probabilities)`;
  return tables.join('\n\n') + remark;
}

const shownValues = 8;

function elementText(element: Element): string {
  if (element instanceof Uint8Array) return JSON.stringify(Buffer.from(element).toString('utf8'));
  return typeof element === 'number' ? rounded(element) : String(element);
}

/** `Y FP32 [1,3] = 0.5 1 2`; the first values of a large output. */
export function tensorText(output: Tensor): string {
  const elements = decodeElements(output.datatype, output.data);
  const shown = elements.slice(0, shownValues).map(elementText).join(' ');
  const more = elements.length > shownValues ? ` … (${elements.length} values)` : '';
  return `${output.name} ${output.datatype} ${shapeText(output.shape)} = ${shown}${more}`;
}
