import { GrpcStatus } from '../../core/errors.js';
import { acceptedEncodings, answerHead, answerTrailers, failureBlock, trailersBlock } from './grpc-headers.js';
import type { Http2Stream, StreamConsumer } from './http2-stream.js';
import type { Inflation } from './inflation.js';
import { MessageGatherer, prefixBytes, secondMessage } from './message-gatherer.js';
import { ErrorCode } from './protocol.js';
import { headerValue, type RequestHead } from './request-head.js';
import type { CancelCall, UnaryAnswer, UnaryCall, UnaryFailure, UnaryMethod, UnaryReply } from './unary-method.js';

/** What all calls of a server have in common. */
export interface ExchangeParts {
  readonly maxMessageBytes: number;
  readonly maxUnfinishedBytes: number;
  readonly inflation: Inflation;
  /** Puts the server's own refusals (too large, no message, not unpacked) into its owner's words. */
  readonly refused: (failure: UnaryFailure) => UnaryFailure;
  /** What a call is answered whose method threw. */
  readonly thrown: (thrown: unknown) => UnaryFailure;
  /** What a call is answered that outlasts the server. */
  readonly closing: UnaryFailure;
}

/** `receiving` the request, `calling` the method or getting there, `done` when answered, failed or given up. */
type Phase = 'receiving' | 'calling' | 'done';

const noBytes = Buffer.alloc(0);
const prefix = new Uint8Array(prefixBytes);

/** One unary call, from its headers to its trailers. It is its own `UnaryCall` and `UnaryReply`. */
export class UnaryExchange implements StreamConsumer, UnaryCall, UnaryReply {
  readonly #stream: Http2Stream;
  readonly #head: RequestHead;
  readonly #method: UnaryMethod;
  readonly #parts: ExchangeParts;
  readonly #deadlineMs: number;
  #phase: Phase = 'receiving';
  #message: Buffer | undefined;
  #isCompressed = false;
  #gatherer: MessageGatherer | undefined;
  #cancel: CancelCall | undefined;

  /** `deadlineMs` is an instant of the server's clock. */
  constructor(stream: Http2Stream, head: RequestHead, method: UnaryMethod, parts: ExchangeParts, deadlineMs: number) {
    this.#stream = stream;
    this.#head = head;
    this.#method = method;
    this.#parts = parts;
    this.#deadlineMs = deadlineMs;
  }

  get message(): Buffer {
    return this.#message ?? noBytes;
  }

  get peer(): string {
    return this.#stream.owner.peer;
  }

  get timeoutMs(): number {
    return this.#deadlineMs - this.#stream.owner.nowMs;
  }

  header(name: string): string | undefined {
    return headerValue(this.#head.fields, name);
  }

  data(bytes: Buffer, start: number, end: number): number {
    if (this.#phase !== 'receiving') return end - start;
    const isWhole =
      this.#gatherer === undefined &&
      this.#message === undefined &&
      end - start >= prefixBytes &&
      bytes.readUInt32BE(start + 1) === end - start - prefixBytes;
    // The usual case: the request in one read. Its message is a slice of that.
    if (isWhole && end - start - prefixBytes <= this.#parts.maxMessageBytes) {
      this.#isCompressed = bytes[start] !== 0;
      this.#message = bytes.subarray(start + prefixBytes, end);
    } else if (this.#message !== undefined) {
      this.#refuse(secondMessage);
    } else {
      this.#gather(bytes, start, end);
    }
    return end - start;
  }

  ended(): void {
    if (this.#phase !== 'receiving') return;
    const gatherer = this.#gatherer;
    if (gatherer !== undefined) {
      this.#message = gatherer.message;
      this.#isCompressed = gatherer.isCompressed;
      this.#dropGathered();
    }
    if (this.#message === undefined) {
      this.#refuse(gatherer === undefined || gatherer.isEmpty ? noMessage : cutOff);
      return;
    }
    this.#phase = 'calling';
    if (this.#isCompressed) this.#inflate(this.#message);
    else this.#call();
  }

  closed(): void {
    this.#dropGathered();
    if (this.#phase === 'done') return;
    this.#phase = 'done';
    this.#message = undefined;
    const cancel = this.#cancel;
    this.#cancel = undefined;
    cancel?.();
  }

  drained(): void {
    // Nothing waits for it: the answer was handed over whole.
  }

  giveUp(): void {
    const cancel = this.#cancel;
    this.fail(this.#parts.closing);
    cancel?.();
  }

  answer(answer: UnaryAnswer): void {
    if (this.#phase === 'done') return;
    const { body, trailers } = answer;
    let bytes = 0;
    for (const piece of body) bytes += piece.length;
    if (bytes > 0xffff_ffff) {
      this.fail({
        status: GrpcStatus.INTERNAL,
        message: `The answer has ${bytes} bytes; a gRPC message has no more than 2^32-1.`,
      });
      return;
    }
    this.#done();
    prefix[1] = bytes >>> 24;
    prefix[2] = bytes >>> 16;
    prefix[3] = bytes >>> 8;
    prefix[4] = bytes;
    const stream = this.#stream;
    stream.headers(answerHead, false);
    stream.data(prefix, body, bytes, false);
    stream.headers(trailers === undefined ? answerTrailers : trailersBlock(trailers), true);
  }

  fail(failure: UnaryFailure): void {
    if (this.#phase === 'done') return;
    this.#done();
    this.#dropGathered();
    const stream = this.#stream;
    stream.headers(blockOf(failure), true);
    // The answer is complete, and what the caller is still sending is in vain (RFC 9113, section 8.1).
    if (!stream.isRemoteEnded) stream.reset(ErrorCode.NO_ERROR);
  }

  #refuse(failure: UnaryFailure): void {
    this.fail(this.#parts.refused(failure));
  }

  #done(): void {
    this.#phase = 'done';
    this.#message = undefined;
    this.#cancel = undefined;
  }

  #gather(bytes: Buffer, start: number, end: number): void {
    const { maxMessageBytes, maxUnfinishedBytes } = this.#parts;
    const { owner } = this.#stream;
    this.#gatherer ??= new MessageGatherer(maxMessageBytes);
    const before = this.#gatherer.heldBytes;
    let failure: UnaryFailure | undefined;
    try {
      failure = this.#gatherer.take(bytes, start, end);
    } catch (thrown) {
      // No memory for it; the others are not to suffer.
      failure = { status: GrpcStatus.RESOURCE_EXHAUSTED, message: `There is no room for the message: ${thrown}.` };
    }
    owner.unfinishedBytes += this.#gatherer.heldBytes - before;
    if (failure !== undefined) this.#refuse(failure);
    else if (owner.unfinishedBytes > maxUnfinishedBytes) {
      this.#refuse({
        status: GrpcStatus.RESOURCE_EXHAUSTED,
        message: `This connection has more than ${maxUnfinishedBytes} bytes of unfinished messages under way.`,
      });
    }
  }

  #dropGathered(): void {
    if (this.#gatherer === undefined) return;
    this.#stream.owner.unfinishedBytes -= this.#gatherer.heldBytes;
    this.#gatherer = undefined;
  }

  #inflate(message: Buffer): void {
    const encoding = this.#head.grpcEncoding ?? 'identity';
    if (encoding === 'identity') {
      this.#refuse({
        status: GrpcStatus.INTERNAL,
        message: 'The request message is compressed, and no grpc-encoding says how.',
      });
    } else if (encoding === 'gzip' || encoding === 'deflate') {
      this.#parts.inflation.inflate(
        encoding,
        message,
        () => this.#phase === 'calling',
        (inflated, failure) => {
          if (this.#phase !== 'calling') return;
          this.#message = inflated;
          if (failure === undefined) this.#call();
          else this.#refuse(failure);
        },
      );
    } else {
      this.#refuse({
        status: GrpcStatus.UNIMPLEMENTED,
        message: `The request message is compressed with "${encoding}"; ${acceptedEncodings} are understood.`,
        trailers: [['grpc-accept-encoding', acceptedEncodings]],
      });
    }
  }

  #call(): void {
    try {
      const cancel = this.#method(this, this);
      if (this.#phase === 'calling') this.#cancel = cancel;
      // Not held for as long as the call takes: it may be a part of a read with many others.
      this.#message = undefined;
    } catch (thrown) {
      this.fail(this.#parts.thrown(thrown));
    }
  }
}

const noMessage: UnaryFailure = {
  status: GrpcStatus.UNIMPLEMENTED,
  message: 'The call is unary and takes one request message, and none came.',
};

const cutOff: UnaryFailure = {
  status: GrpcStatus.INTERNAL,
  message: 'The request ended in the middle of its message.',
};

/** Header blocks of failures. Under pressure the same failure is told again and again, and our encoder keeps no state. */
const blocks = new WeakMap<UnaryFailure, Buffer>();

function blockOf(failure: UnaryFailure): Buffer {
  let block = blocks.get(failure);
  if (block === undefined) {
    block = Buffer.from(failureBlock(failure.status, failure.message, failure.trailers));
    blocks.set(failure, block);
  }
  return block;
}
