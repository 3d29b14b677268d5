/** Number of the level of those who have waited for too long and let everybody pass. */
export const lateLevel = Number.POSITIVE_INFINITY;

/** One caller's place in one shape's queue, which depends on how much the caller has had. */
export interface FlowLine {
  /** The caller's tag has moved. */
  flowMoved(): void;
}

/** Idle callers that are remembered besides the waiting ones before the memory is swept. */
const maxIdleFlows = 64;

/**
 * One caller at one priority level of a model. `startTag` is its next piece's start tag in start-time fair queueing
 * (Goyal, Vin, Cheng 1996): the virtual instant up to which the caller has had its share.
 */
export class Flow {
  readonly caller: string;
  readonly weight: number;
  readonly level: Level;
  startTag = 0;
  pieces = 0;
  rows = 0;
  /** Where its pieces stand, one line a shape. */
  readonly lines = new Set<FlowLine>();

  constructor(caller: string, weight: number, level: Level) {
    this.caller = caller;
    this.weight = weight;
    this.level = level;
  }
}

/** One priority level of a model: shares the model with other levels, and is itself shared among its callers. */
export class Level {
  readonly number: number;
  readonly weight: number;
  startTag = 0;
  pieces = 0;
  rows = 0;
  /** Sum of the weights of the callers that wait. */
  waitingWeight = 0;
  /** Start tag of what was served last: where a caller that comes back begins. */
  #nowTag = 0;
  readonly #flows = new Map<string, Flow>();

  constructor(number: number, weight: number) {
    this.number = number;
    this.weight = weight;
  }

  /** Callers with something waiting. */
  *waiting(): Iterable<Flow> {
    for (const flow of this.#flows.values()) if (flow.pieces > 0) yield flow;
  }

  flow(caller: string): Flow | undefined {
    return this.#flows.get(caller);
  }

  /** The caller's flow, about to get one more piece. */
  join(caller: string, weight: number): Flow {
    let flow = this.#flows.get(caller);
    if (flow === undefined) {
      if (this.#flows.size > maxIdleFlows && this.#flows.size > 2 * this.pieces) this.#sweep();
      flow = new Flow(caller, weight, this);
      this.#flows.set(caller, flow);
    }
    if (flow.pieces === 0) {
      // Time away earns no credit.
      flow.startTag = Math.max(flow.startTag, this.#nowTag);
      this.waitingWeight += flow.weight;
    }
    return flow;
  }

  left(flow: Flow): void {
    if (flow.pieces === 0) this.waitingWeight -= flow.weight;
    if (this.pieces > 0) return;
    // Nobody waits, so nobody was kept waiting by anybody: all begin anew.
    this.waitingWeight = 0;
    this.#nowTag = 0;
    this.#flows.clear();
  }

  /** `rows` of this flow are served (negative: they come back unserved). */
  charge(flow: Flow, rows: number): void {
    // What comes back was not served: nobody's start moves up to where its caller stood meanwhile.
    if (rows > 0) this.#nowTag = Math.max(this.#nowTag, flow.startTag);
    flow.startTag = Math.max(0, flow.startTag + rows / flow.weight);
  }

  #sweep(): void {
    for (const [caller, flow] of this.#flows) if (flow.pieces === 0) this.#flows.delete(caller);
  }
}

/**
 * Who comes next in one model: levels share it by weight (or strictly in their order), callers share their level by
 * weight. Rows are the currency. A lone caller at a lone level costs a few additions.
 */
export class FairShare {
  readonly #levels: Level[] = [];
  #strict = false;
  #nowTag = 0;

  set strict(strict: boolean) {
    this.#strict = strict;
  }

  get strict(): boolean {
    return this.#strict;
  }

  get levels(): readonly Level[] {
    return this.#levels;
  }

  level(number: number, weight: number): Level {
    for (const level of this.#levels) if (level.number === number) return level;
    const level = new Level(number, weight);
    this.#levels.push(level);
    this.#levels.sort((a, b) => a.number - b.number);
    return level;
  }

  added(flow: Flow, rows: number): void {
    const { level } = flow;
    if (level.pieces === 0) level.startTag = Math.max(level.startTag, this.#nowTag);
    level.pieces++;
    level.rows += rows;
    flow.pieces++;
    flow.rows += rows;
  }

  removed(flow: Flow, rows: number): void {
    const { level } = flow;
    level.pieces--;
    level.rows -= rows;
    flow.pieces--;
    flow.rows -= rows;
    level.left(flow);
  }

  /** To be called before `removed` when rows are served, and after `added` with a minus when they come back. */
  charge(flow: Flow, rows: number): void {
    const { level } = flow;
    level.charge(flow, rows);
    if (rows > 0) this.#nowTag = Math.max(this.#nowTag, level.startTag);
    level.startTag = Math.max(0, level.startTag + rows / level.weight);
  }

  /** Must the head of `a`'s level come before that of `b`'s? Undefined when they are of one level. */
  levelBefore(a: Level, b: Level): boolean | undefined {
    if (a === b) return undefined;
    const byNumber = this.#strict || a.number === lateLevel || b.number === lateLevel || a.startTag === b.startTag;
    return byNumber ? a.number < b.number : a.startTag < b.startTag;
  }

  /** Rows of this caller that wait at a level, and its part by weight of all that is shared there. */
  standing(levelNumber: number, caller: string, weight: number): { readonly rows: number; readonly part: number } {
    const level = this.#levels.find(({ number }) => number === levelNumber);
    const flow = level?.flow(caller);
    const isWaiting = flow !== undefined && flow.pieces > 0;
    const others = (level?.waitingWeight ?? 0) - (isWaiting ? flow.weight : 0);
    return { rows: isWaiting ? flow.rows : 0, part: weight / (weight + others) };
  }

  /**
   * Rows that will probably be served before `rows` more of this caller: everybody else's as far as they come first,
   * and the caller's own.
   */
  rowsAhead(levelNumber: number, caller: string, weight: number, rows: number): number {
    const own = this.#levels.find((level) => level.number === levelNumber);
    let ahead = own === undefined ? 0 : aheadInLevel(own, caller, weight, rows);
    const inLevel = ahead;
    for (const level of this.#levels) {
      if (level === own || level.rows === 0 || level.number === lateLevel) continue;
      if (!this.#strict) ahead += Math.min(level.rows, (inLevel + rows) * (level.weight / (own?.weight ?? 1)));
      else if (level.number < levelNumber) ahead += level.rows;
    }
    return ahead;
  }
}

function aheadInLevel(level: Level, caller: string, weight: number, rows: number): number {
  const flow = level.flow(caller);
  const isWaiting = flow !== undefined && flow.pieces > 0;
  const mine = isWaiting ? flow.rows : 0;
  const others = level.waitingWeight - (isWaiting ? flow.weight : 0);
  // By the time it is served the others had their weight's worth of rows for each of its own, if they have them.
  return Math.min(level.rows, mine + (mine + rows) * (others / weight));
}
