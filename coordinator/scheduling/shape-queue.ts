import { DeadlineHeap } from '../../core/deadline-heap.js';
import { type HeapItem, IndexedHeap } from '../../core/indexed-heap.js';
import { type FairShare, type Flow, type FlowLine, type Level, lateLevel } from './fair-share.js';
import type { Piece, Standing } from './piece.js';

/** What one caller has waiting at one level in one shape: first in, first out. */
class Line implements HeapItem, FlowLine, Standing {
  readonly flow: Flow;
  readonly band: Band;
  head: Piece | undefined = undefined;
  tail: Piece | undefined = undefined;
  heapIndex = -1;

  constructor(flow: Flow, band: Band) {
    this.flow = flow;
    this.band = band;
  }

  flowMoved(): void {
    if (this.band.order.size > 1) this.band.order.moved(this);
  }
}

/** One level's part of a shape's queue. */
class Band {
  readonly level: Level;
  readonly queue: ShapeQueue;
  readonly lines = new Map<string, Line>();
  readonly order = new IndexedHeap<Line>(lineBefore);

  constructor(level: Level, queue: ShapeQueue) {
    this.level = level;
    this.queue = queue;
  }
}

function lineBefore(a: Line, b: Line): boolean {
  if (a.flow.startTag !== b.flow.startTag) return a.flow.startTag < b.flow.startTag;
  return (a.head?.sequence ?? 0) < (b.head?.sequence ?? 0);
}

/** Everything of one shape that waits for one version, in the order of fair shares. */
export class ShapeQueue implements HeapItem {
  readonly shapeKey: string;
  readonly #share: FairShare;
  /** By level number, the late ones last. */
  readonly #bands: Band[] = [];
  /** When its pieces expire. */
  readonly expiring = new DeadlineHeap<Piece>();
  /** Where it stands among all queues, by what expires first. */
  heapIndex = -1;
  rows = 0;
  pieces = 0;
  #withDeadline = 0;

  constructor(shapeKey: string, share: FairShare) {
    this.shapeKey = shapeKey;
    this.#share = share;
  }

  /** When the first has to leave, by its deadline or by its queue policy; Infinity: nobody. */
  get earliestMs(): number {
    return this.expiring.earliestMs;
  }

  /**
   * Whose deadline is the earliest; undefined: nobody has one. Only where a queue policy lets somebody leave before
   * all deadlines they are looked through.
   */
  get mostUrgent(): Piece | undefined {
    if (this.#withDeadline === 0) return undefined;
    const { first } = this.expiring;
    if (first === undefined || first.deadlineMs <= first.expiresMs) return first;
    let urgent = first;
    for (const piece of this.expiring.items()) if (piece.deadlineMs < urgent.deadlineMs) urgent = piece;
    return urgent;
  }

  get deadlineMs(): number {
    return this.mostUrgent?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  /**
   * When the oldest came, who need not be who is served next. Looks at the head of every line; it is asked only while
   * the rows do not fill a batch, when lines are few.
   */
  get enqueuedMs(): number {
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const band of this.#bands) {
      for (const line of band.lines.values()) oldestMs = Math.min(oldestMs, line.head?.enqueuedMs ?? oldestMs);
    }
    return oldestMs;
  }

  push(piece: Piece, flow: Flow): void {
    const line = this.#lineOf(flow);
    piece.line = line;
    piece.previous = line.tail;
    piece.next = undefined;
    if (line.tail === undefined) line.head = piece;
    else line.tail.next = piece;
    line.tail = piece;
    this.#added(piece, line);
  }

  /** Back to the front of its line: for work that was already on its way once. */
  unshift(piece: Piece, flow: Flow): void {
    const line = this.#lineOf(flow);
    piece.line = line;
    piece.previous = undefined;
    piece.next = line.head;
    if (line.head === undefined) line.tail = piece;
    else line.head.previous = piece;
    line.head = piece;
    this.#added(piece, line);
  }

  /** Takes a piece out; `served`: it goes to a worker, which its caller's share pays for. */
  remove(piece: Piece, served: boolean): void {
    const { line } = piece;
    if (!(line instanceof Line) || line.band.queue !== this) return;
    const { flow, band } = line;
    if (piece.previous === undefined) line.head = piece.next;
    else piece.previous.next = piece.next;
    if (piece.next === undefined) line.tail = piece.previous;
    else piece.next.previous = piece.previous;
    piece.next = undefined;
    piece.previous = undefined;
    piece.line = undefined;
    this.rows -= piece.rows;
    this.pieces--;
    if (piece.deadlineMs !== Number.POSITIVE_INFINITY) this.#withDeadline--;
    this.expiring.remove(piece);
    if (served) this.#share.charge(flow, piece.rows);
    this.#share.removed(flow, piece.rows);
    if (line.head === undefined) {
      band.order.remove(line);
      band.lines.delete(flow.caller);
      flow.lines.delete(line);
    }
    // The caller's tag has moved, and with it the places of all its lines, in other shapes too.
    for (const other of flow.lines) other.flowMoved();
  }

  /** The line whose head is served next; undefined when the queue is empty. */
  get #nextLine(): Line | undefined {
    let best: Line | undefined;
    for (const band of this.#bands) {
      const first = band.order.first;
      if (first === undefined) continue;
      if (best === undefined || this.#share.levelBefore(band.level, best.band.level) === true) best = first;
    }
    return best;
  }

  get head(): Piece | undefined {
    return this.#nextLine?.head;
  }

  /** Is the head of this queue served before that of `other`, of the same version? */
  isBefore(other: ShapeQueue): boolean {
    const a = this.#nextLine;
    const b = other.#nextLine;
    if (a === undefined || b === undefined) return b === undefined;
    return this.#share.levelBefore(a.band.level, b.band.level) ?? lineBefore(a, b);
  }

  /** Rows at less urgent levels whose oldest came before `sinceSequence`: others have overtaken them. */
  rowsOvertaken(level: number, sinceSequence: number): number {
    let rows = 0;
    for (const band of this.#bands) {
      if (band.level.number <= level || band.level.number === lateLevel) continue;
      for (const line of band.lines.values()) if ((line.head?.sequence ?? sinceSequence) < sinceSequence) rows++;
    }
    return rows;
  }

  #lineOf(flow: Flow): Line {
    let band = this.#bands.find((one) => one.level === flow.level);
    if (band === undefined) {
      band = new Band(flow.level, this);
      this.#bands.push(band);
      this.#bands.sort((a, b) => a.level.number - b.level.number);
    }
    let line = band.lines.get(flow.caller);
    if (line === undefined) {
      line = new Line(flow, band);
      band.lines.set(flow.caller, line);
      flow.lines.add(line);
    }
    return line;
  }

  #added(piece: Piece, line: Line): void {
    this.rows += piece.rows;
    this.pieces++;
    if (piece.deadlineMs !== Number.POSITIVE_INFINITY) this.#withDeadline++;
    this.#share.added(line.flow, piece.rows);
    this.expiring.add(piece);
    if (line.heapIndex < 0) line.band.order.add(line);
    else line.band.order.moved(line);
  }
}
