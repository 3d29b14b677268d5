import type { Expiring } from '../../core/deadline-heap.js';

/**
 * What the scheduler needs to know of some rows that wait: all of one request, or one part of a request
 * that has more rows than a batch may hold. The links belong to the queue the piece is in.
 */
export abstract class Piece implements Expiring {
  abstract readonly rows: number;
  /** Requests whose inputs can lie in one batch share a shape key. */
  abstract shapeKey: string;
  abstract readonly deadlineMs: number;
  heapIndex = -1;
  enqueuedMs = 0;
  /** 1 for the first try. */
  attempt = 1;
  /** Worker on which the last try failed; another is preferred. Empty: none. */
  avoidWorker = '';
  queue: PieceQueue | undefined = undefined;
  next: Piece | undefined = undefined;
  previous: Piece | undefined = undefined;
}

/** First in, first out, with removal from anywhere in constant time. */
export class PieceQueue {
  readonly shapeKey: string;
  head: Piece | undefined = undefined;
  rows = 0;
  #tail: Piece | undefined = undefined;

  constructor(shapeKey: string) {
    this.shapeKey = shapeKey;
  }

  push(piece: Piece): void {
    piece.queue = this;
    piece.previous = this.#tail;
    piece.next = undefined;
    if (this.#tail === undefined) this.head = piece;
    else this.#tail.next = piece;
    this.#tail = piece;
    this.rows += piece.rows;
  }

  /** Back to the front: for work that was already on its way once. */
  unshift(piece: Piece): void {
    piece.queue = this;
    piece.previous = undefined;
    piece.next = this.head;
    if (this.head === undefined) this.#tail = piece;
    else this.head.previous = piece;
    this.head = piece;
    this.rows += piece.rows;
  }

  remove(piece: Piece): void {
    if (piece.queue !== this) return;
    if (piece.previous === undefined) this.head = piece.next;
    else piece.previous.next = piece.next;
    if (piece.next === undefined) this.#tail = piece.previous;
    else piece.next.previous = piece.previous;
    piece.next = undefined;
    piece.previous = undefined;
    piece.queue = undefined;
    this.rows -= piece.rows;
  }
}
