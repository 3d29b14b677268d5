import type { ParameterValue, TimingReceipt } from '../../core/inference.js';

/** Trailer (gRPC) and header (HTTP) of every answer. Durations in microseconds. */
export const timingHeader = 'shoal-timing';

/** Request parameter that asks for the receipt among the response's parameters as well. */
export const timingParameter = 'shoal_timing';

/** `queue=12;batch_wait=0;input=3;execute=840;output=2;rows=16;padded=0;version=1;worker=w1;instance=cpu-0;attempt=1` */
export function receiptText(receipt: TimingReceipt): string {
  const { queueUs, batchWaitUs, inputUs, executeUs, outputUs, batchRows, paddedRows, version, attempt } = receipt;
  return `queue=${Math.round(queueUs)};batch_wait=${Math.round(batchWaitUs)};input=${Math.round(inputUs)};execute=${Math.round(
    executeUs,
  )};output=${Math.round(outputUs)};rows=${batchRows};padded=${paddedRows};version=${version};worker=${headerSafe(
    receipt.worker,
  )};instance=${headerSafe(receipt.instance)};attempt=${attempt}`;
}

export function receiptParameters(receipt: TimingReceipt): Record<string, ParameterValue> {
  return {
    shoal_queue_us: Math.round(receipt.queueUs),
    shoal_batch_wait_us: Math.round(receipt.batchWaitUs),
    shoal_input_us: Math.round(receipt.inputUs),
    shoal_execute_us: Math.round(receipt.executeUs),
    shoal_output_us: Math.round(receipt.outputUs),
    shoal_batch_rows: receipt.batchRows,
    shoal_padded_rows: receipt.paddedRows,
    shoal_version: receipt.version,
    shoal_worker: receipt.worker,
    shoal_instance: receipt.instance,
    shoal_attempt: receipt.attempt,
  };
}

const unsafe = /[^ -:<-~]/g;
/** What was made of the names of late. Workers and instances are few; a stranger's names cannot come in here. */
const safeNames = new Map<string, string>();
const maxSafeNames = 4096;

/** Printable ASCII without the separator. Names repeat from answer to answer, so the results are kept. */
function headerSafe(name: string): string {
  let safe = safeNames.get(name);
  if (safe === undefined) {
    safe = name.replace(unsafe, '_');
    if (safeNames.size >= maxSafeNames) safeNames.clear();
    safeNames.set(name, safe);
  }
  return safe;
}
