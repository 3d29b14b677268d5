import type { ParameterValue, TimingReceipt } from '../../core/inference.js';

/** Trailer (gRPC) and header (HTTP) of every answer. Durations in microseconds. */
export const timingHeader = 'shoal-timing';

/** Request parameter that asks for the receipt among the response's parameters as well. */
export const timingParameter = 'shoal_timing';

/** `queue=12;input=3;execute=840;output=2;rows=16;worker=w1;instance=cpu-0;attempt=1` */
export function receiptText(receipt: TimingReceipt): string {
  return `queue=${Math.round(receipt.queueUs)};input=${Math.round(receipt.inputUs)};execute=${Math.round(
    receipt.executeUs,
  )};output=${Math.round(receipt.outputUs)};rows=${receipt.batchRows};worker=${headerSafe(
    receipt.worker,
  )};instance=${headerSafe(receipt.instance)};attempt=${receipt.attempt}`;
}

export function receiptParameters(receipt: TimingReceipt): Record<string, ParameterValue> {
  return {
    shoal_queue_us: Math.round(receipt.queueUs),
    shoal_input_us: Math.round(receipt.inputUs),
    shoal_execute_us: Math.round(receipt.executeUs),
    shoal_output_us: Math.round(receipt.outputUs),
    shoal_batch_rows: receipt.batchRows,
    shoal_worker: receipt.worker,
    shoal_instance: receipt.instance,
    shoal_attempt: receipt.attempt,
  };
}

const unsafe = /[^ -:<-~]/g;
let lastRaw = '';
let lastSafe = '';

/** Printable ASCII without the separator. Names repeat from answer to answer, so the last result is kept. */
function headerSafe(name: string): string {
  if (name !== lastRaw) {
    lastSafe = name.replace(unsafe, '_');
    lastRaw = name;
  }
  return lastSafe;
}
