import type { Batch, ToCoordinator } from '../../../core/link.js';
import type { Blame } from '../referee.js';
import { eachRow } from '../rows.js';
import type { SimRequest } from '../sim-request.js';

/** A conversation with one worker, whatever else it is. */
export interface Linked {
  readonly workerId: string;
}

interface Flight {
  readonly key: string;
  /** One entry for each row. */
  readonly requests: readonly SimRequest[];
}

/**
 * What a batch may hold when the coordinator hands it over: no more rows than the model takes, all of one width and of
 * that model; no row whose deadline has passed, whose caller hung up or has its answer, or that is with another worker already.
 * And no worker is sent more batches than it has granted.
 */
export class DispatchedRowsCheck {
  readonly #blame: Blame;
  readonly #requestOf: (id: number) => SimRequest | undefined;
  readonly #limitOf: (workerId: string, key: string) => number;
  readonly #flights = new Map<Linked, Map<number, Flight>>();

  constructor(
    blame: Blame,
    requestOf: (id: number) => SimRequest | undefined,
    limitOf: (workerId: string, key: string) => number,
  ) {
    this.#blame = blame;
    this.#requestOf = requestOf;
    this.#limitOf = limitOf;
  }

  sent(session: Linked, batch: Batch, nowMs: number): void {
    const { batchId, model, version } = batch;
    const requests: SimRequest[] = [];
    const input = batch.inputs[0];
    const width = input?.shape[1] ?? 0;
    let byteLength = 0;
    for (const part of input?.parts ?? []) byteLength += part.length;
    if (input === undefined || byteLength !== input.byteLength || byteLength !== batch.rows * width * 4) {
      this.#blame('batch-form', `Batch ${batchId} of ${model} says ${batch.rows} rows and holds ${byteLength} bytes.`);
    }
    eachRow(batch, (id, row) => {
      const request = this.#requestOf(id);
      if (request === undefined) {
        this.#blame(
          'answered-rows',
          `Batch ${batchId} to ${session.workerId} has a row of request ${id}, which waits no more.`,
        );
        return;
      }
      // The rows of one request lie side by side.
      if (requests.at(-1) !== request) request.timesSent++;
      requests.push(request);
      this.#checkRow(session, batch, request, row, width, nowMs);
    });
    const most = requests[0]?.model.spec.maxBatchSize ?? 0;
    if (most > 0 && batch.rows > most)
      this.#blame('batch-rows', `Batch ${batchId} of ${model} has ${batch.rows} rows; the model takes ${most}.`);
    const key = `${model}/${version}`;
    this.#book(session, batchId, { key, requests });
  }

  told(session: Linked, message: ToCoordinator): void {
    if (message.kind === 'result') this.#land(session, message.result.batchId);
    else if (message.kind === 'failure') this.#land(session, message.failure.batchId);
  }

  ended(session: Linked): void {
    for (const batchId of [...(this.#flights.get(session)?.keys() ?? [])]) this.#land(session, batchId);
    this.#flights.delete(session);
  }

  #checkRow(session: Linked, batch: Batch, request: SimRequest, row: number, width: number, nowMs: number): void {
    const where = `Batch ${batch.batchId} to ${session.workerId}`;
    const { id, model, deadlineMs } = request;
    if (deadlineMs <= nowMs) {
      const late = (nowMs - deadlineMs).toFixed(3);
      this.#blame('expired-rows', `${where} has row ${row} of request ${id}, whose deadline passed ${late} ms ago.`);
    }
    if (request.isCancelled)
      this.#blame('cancelled-rows', `${where} has row ${row} of request ${id}, whose caller hung up.`);
    if (model.spec.model !== batch.model)
      this.#blame(
        'batch-form',
        `${where} of ${batch.model} has a row of request ${id}, which is for ${model.spec.model}.`,
      );
    const isBucketed = model.spec.buckets !== undefined;
    if (isBucketed ? request.width > width : request.width !== width)
      this.#blame(
        'mixed-shapes',
        `${where} has rows of ${width} words and one of request ${id}, which has ${request.width}.`,
      );
    if (++request.rowsOut > request.rows)
      this.#blame(
        'sent-twice',
        `${where} has row ${row} of request ${id}, whose ${request.rows} rows are all with a worker.`,
      );
  }

  #book(session: Linked, batchId: number, flight: Flight): void {
    let flights = this.#flights.get(session);
    if (flights === undefined) {
      flights = new Map();
      this.#flights.set(session, flights);
    }
    flights.set(batchId, flight);
    let same = 0;
    for (const { key } of flights.values()) if (key === flight.key) same++;
    const limit = this.#limitOf(session.workerId, flight.key);
    if (same > limit)
      this.#blame('credits', `${session.workerId} was sent ${same} batches of ${flight.key}; it granted ${limit}.`);
  }

  #land(session: Linked, batchId: number): void {
    const flights = this.#flights.get(session);
    for (const request of flights?.get(batchId)?.requests ?? []) request.rowsOut--;
    flights?.delete(batchId);
  }
}
