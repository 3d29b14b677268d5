import type { Clock } from '../../core/clock.js';

/** Lines kept for the case that something goes wrong. */
const keptLines = 60;

/** What happened, one readable line each: the last few are kept, all of them go to `sink` if there is one. */
export class Journal {
  /** Lines cost more than what they tell of; who only counts does without. */
  readonly on: boolean;
  readonly #clock: Clock;
  readonly #sink: ((line: string) => void) | undefined;
  readonly #kept: string[] = [];
  #written = 0;

  constructor(clock: Clock, on: boolean, sink?: (line: string) => void) {
    this.#clock = clock;
    this.on = on;
    this.#sink = sink;
  }

  add(text: string): void {
    if (!this.on) return;
    const line = `${this.#clock.nowMs().toFixed(3).padStart(11)} ms  ${text}`;
    this.#kept[this.#written++ % keptLines] = line;
    this.#sink?.(line);
  }

  /** Oldest first. */
  get lastLines(): readonly string[] {
    const from = this.#written % keptLines;
    return this.#written <= keptLines ? [...this.#kept] : [...this.#kept.slice(from), ...this.#kept.slice(0, from)];
  }
}
