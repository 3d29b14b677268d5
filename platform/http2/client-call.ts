import type { Expiring } from '../../core/deadline-heap.js';
import { GrpcStatus } from '../../core/errors.js';
import { isGrpcType } from './grpc-headers.js';
import type { Http2Stream } from './http2-stream.js';
import { type GathererWords, MessageGatherer, prefixBytes } from './message-gatherer.js';
import type { CallHead } from './request-blocks.js';
import type { ResponseHead } from './response-head.js';
import { type CallFault, faulty, statusOfHttp, type UnaryOutcome, unknownStatus } from './unary-outcome.js';

/** Called once. The outcome's body may be kept; it holds on to the read that it came in. */
export type CallEnded = (outcome: UnaryOutcome) => void;

/** Who keeps the calls. */
export interface CallOwner {
  /** The largest answer that is taken. */
  readonly maxMessageBytes: number;
  /** The call is over: it leaves every list, and its stream is given up if there is anything left of it. */
  over(call: ClientCall): void;
}

const prefix = new Uint8Array(prefixBytes);

const words: GathererWords = {
  tooLarge: (bytes, maxBytes) => ({
    status: GrpcStatus.RESOURCE_EXHAUSTED,
    message: `The answer has ${bytes} bytes; at most ${maxBytes} are accepted.`,
  }),
  secondMessage: {
    status: GrpcStatus.UNIMPLEMENTED,
    message: 'The call is unary, and the server sent a second message.',
  },
};

/** One unary call of a client, from its beginning to its outcome. */
export class ClientCall implements Expiring {
  readonly head: CallHead;
  /** An instant of the client's clock; Infinity: none. */
  readonly expiresMs: number;
  heapIndex = -1;
  /** While the call has one. */
  stream: Http2Stream | undefined;
  readonly #owner: CallOwner;
  readonly #message: Uint8Array;
  #ended: CallEnded | undefined;
  #hasHead = false;
  #answer: Buffer | undefined;
  #gatherer: MessageGatherer | undefined;

  constructor(owner: CallOwner, head: CallHead, message: Uint8Array, expiresMs: number, ended: CallEnded) {
    this.#owner = owner;
    this.head = head;
    this.#message = message;
    this.expiresMs = expiresMs;
    this.#ended = ended;
  }

  get isOver(): boolean {
    return this.#ended === undefined;
  }

  /** Gives the call up, here and at the server; its outcome is CANCELLED, at once. */
  cancel(): void {
    this.finish(faulty('cancelled', GrpcStatus.CANCELLED, 'The call was cancelled by its caller.'));
  }

  /** Sends the request on the stream it has got. `block`: its headers. */
  send(stream: Http2Stream, block: Uint8Array): void {
    const message = this.#message;
    const bytes = message.length;
    this.stream = stream;
    prefix[1] = bytes >>> 24;
    prefix[2] = bytes >>> 16;
    prefix[3] = bytes >>> 8;
    prefix[4] = bytes;
    stream.headers(block, false);
    stream.data(prefix, [message], bytes, true);
  }

  /** A header block of the answer: its head, its trailers, or both in one. */
  headers(head: ResponseHead, isEnd: boolean): void {
    if (head.isMalformed) {
      this.#fault('headers', GrpcStatus.INTERNAL, 'The headers of the answer break the rules of HTTP/2.');
    } else if (head.isTooLarge) {
      this.#fault('headers', GrpcStatus.RESOURCE_EXHAUSTED, 'The headers of the answer are larger than allowed.');
    } else if (this.#hasHead || (isEnd && head.grpcStatus >= 0)) {
      this.#trailers(head, isEnd);
    } else if (head.httpStatus >= 100 && head.httpStatus < 200 && !isEnd) {
      // Informational; the real one follows.
    } else {
      this.#firstHead(head, isEnd);
    }
  }

  /** Bytes `[start, end)` of a read belong to the answer's message. */
  data(bytes: Buffer, start: number, end: number): void {
    if (this.isOver || start === end) return;
    if (!this.#hasHead) {
      this.#fault('headers', GrpcStatus.INTERNAL, 'The server sent an answer without headers.');
    } else if (
      this.#gatherer === undefined &&
      this.#answer === undefined &&
      end - start >= prefixBytes &&
      bytes.readUInt32BE(start + 1) === end - start - prefixBytes &&
      bytes[start] === 0 &&
      end - start - prefixBytes <= this.#owner.maxMessageBytes
    ) {
      // The usual case: the answer in one read.
      this.#answer = bytes.subarray(start + prefixBytes, end);
    } else {
      this.#gather(bytes, start, end);
    }
  }

  /** The stream ended with DATA, so there are no trailers. */
  dataEnded(): void {
    this.#fault('no-status', unknownStatus, 'The server ended its answer without a grpc-status.');
  }

  /** Ends the call once; anything further goes nowhere. */
  finish(outcome: UnaryOutcome): void {
    const ended = this.#ended;
    if (ended === undefined) return;
    this.#ended = undefined;
    this.#answer = undefined;
    this.#gatherer = undefined;
    this.#owner.over(this);
    this.stream = undefined;
    ended(outcome);
  }

  #firstHead(head: ResponseHead, isEnd: boolean): void {
    const { httpStatus, contentType } = head;
    if (httpStatus === 0) {
      this.#fault('headers', GrpcStatus.INTERNAL, 'The headers of the answer have no :status.');
    } else if (httpStatus !== 200) {
      this.#fault('http-status', statusOfHttp(httpStatus), `The server answered HTTP status ${httpStatus}.`);
    } else if (!isGrpcType(contentType)) {
      this.#fault('content-type', unknownStatus, `The answer's content-type is "${contentType}", which is not gRPC.`);
    } else if (isEnd) {
      this.#fault('no-status', unknownStatus, 'The server answered headers only, without a grpc-status.');
    } else {
      this.#hasHead = true;
    }
  }

  #trailers(head: ResponseHead, isEnd: boolean): void {
    if (!isEnd || this.#hasHead === (head.httpStatus !== 0)) {
      this.#fault('headers', GrpcStatus.INTERNAL, 'The headers of the answer are not its head, then its trailers.');
    } else if (head.grpcStatus < 0) {
      this.#fault('no-status', unknownStatus, 'The trailers of the answer have no grpc-status that is a number.');
    } else if (head.grpcStatus > 0) {
      const { grpcStatus: status, grpcMessage: message, fields: trailers } = head;
      this.finish({ status, message, body: undefined, trailers, fault: undefined });
    } else {
      this.#answered(head);
    }
  }

  #answered(head: ResponseHead): void {
    const gatherer = this.#gatherer;
    const body = gatherer === undefined ? this.#answer : gatherer.message;
    if (body !== undefined) {
      this.finish({ status: 0, message: head.grpcMessage, body, trailers: head.fields, fault: undefined });
    } else if (gatherer === undefined || gatherer.isEmpty) {
      this.#fault('no-message', GrpcStatus.INTERNAL, 'The server said OK and sent no answer.');
    } else {
      this.#fault('cut-off', GrpcStatus.INTERNAL, 'The answer ended in the middle of its message.');
    }
  }

  #gather(bytes: Buffer, start: number, end: number): void {
    if (this.#answer !== undefined) {
      this.#fault('second-message', words.secondMessage.status, words.secondMessage.message);
      return;
    }
    this.#gatherer ??= new MessageGatherer(this.#owner.maxMessageBytes, words);
    const failure = this.#gatherer.take(bytes, start, end);
    if (failure !== undefined) {
      const fault = failure === words.secondMessage ? 'second-message' : 'too-large';
      this.#fault(fault, failure.status, failure.message);
    } else if (this.#gatherer.isCompressed) {
      const message = 'The answer is compressed, which this client did not offer to read.';
      this.#fault('compressed', GrpcStatus.INTERNAL, message);
    }
  }

  #fault(fault: CallFault, status: number, message: string): void {
    this.finish(faulty(fault, status, message));
  }
}
