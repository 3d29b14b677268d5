import type { Clock } from '../../core/clock.js';
import type { Journal } from './journal.js';

/** A promise that was broken. */
export interface Violation {
  /** Name of the checker, like `one-answer`. */
  readonly rule: string;
  /** Who did what, in a sentence. */
  readonly sentence: string;
  readonly atMs: number;
}

/** What checkers say their findings to. */
export type Blame = (rule: string, sentence: string) => void;

/** Keeps the first violation: what comes after it may be but its consequence. */
export class Referee {
  readonly #clock: Clock;
  readonly #journal: Journal;
  #violation: Violation | undefined;

  constructor(clock: Clock, journal: Journal) {
    this.#clock = clock;
    this.#journal = journal;
  }

  readonly blame: Blame = (rule, sentence) => {
    if (this.#violation !== undefined) return;
    this.#violation = { rule, sentence, atMs: this.#clock.nowMs() };
    this.#journal.add(`VIOLATION of ${rule}: ${sentence}`);
  };

  get violation(): Violation | undefined {
    return this.#violation;
  }
}
