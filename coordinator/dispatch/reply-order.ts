import type { InferOutcome } from '../../core/inference.js';

type Reply = (outcome: InferOutcome) => void;

interface Place {
  readonly reply: Reply;
  outcome: InferOutcome | undefined;
  isSettled: boolean;
}

/**
 * Triton's `preserve_ordering`: the answers of one version leave in the order in which its requests were accepted. An
 * answer that is early waits for those before it; a failure is told at once, because it carries nothing that could be
 * out of order, and frees its place.
 */
export class ReplyOrder {
  readonly #places: Place[] = [];
  #head = 0;

  /** Takes the next place; what is returned is to be called once, in place of `reply`. */
  enter(reply: Reply): Reply {
    const place: Place = { reply, outcome: undefined, isSettled: false };
    this.#places.push(place);
    return (outcome) => {
      place.isSettled = true;
      if (outcome.ok) place.outcome = outcome;
      else reply(outcome);
      this.#release();
    };
  }

  #release(): void {
    for (let place = this.#places[this.#head]; place?.isSettled; place = this.#places[this.#head]) {
      this.#head++;
      if (place.outcome !== undefined) place.reply(place.outcome);
    }
    // Moving the rest to the front pays once half of the list is gone.
    if (this.#head > 32 && this.#head * 2 > this.#places.length) this.#places.splice(0, this.#head);
    else if (this.#head < this.#places.length) return;
    else this.#places.length = 0;
    this.#head = 0;
  }
}
