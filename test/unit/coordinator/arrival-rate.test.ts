import { describe, expect, it } from 'vitest';
import { ArrivalRate } from '../../../coordinator/scheduling/arrival-rate.js';
import { VirtualClock } from '../../../core/clock.js';
import { seededRandom } from '../../../core/random.js';

const fixedMs = 9;
const perRowMs = 0.4;
const maxRows = 16;

describe('arrival rate', () => {
  it('learns how often rows come, in whatever portions', () => {
    const random = seededRandom(4);
    for (const rows of [1, 4]) {
      const rate = new ArrivalRate();
      expect(rate.perMs).toBe(0);
      let now = 0;
      for (let i = 0; i < 500; i++) {
        now += random.exponential(2 * rows);
        rate.arrived(rows, now);
      }
      expect(rate.perMs).toBeGreaterThan(0.3);
      expect(rate.perMs).toBeLessThan(0.9);
    }
  });

  it('waits while one row more is sure to be cheaper together, and not one row longer', () => {
    const rate = new ArrivalRate();
    for (let now = 0; now <= 100; now++) rate.arrived(1, now);
    // (b + 1) × 1 ms + b × 0.4 ms < 9 ms: up to five rows.
    for (let rows = 1; rows <= 5; rows++) expect(rate.waitUntil(rows, fixedMs, perRowMs, 100.5)).toBeCloseTo(102, 6);
    expect(rate.waitUntil(6, fixedMs, perRowMs, 100.5)).toBe(100.5);
    expect(new ArrivalRate().waitUntil(1, fixedMs, perRowMs, 5)).toBe(5);
  });

  it('gives up on those who do not come, and tries again only now and then', () => {
    const rate = new ArrivalRate();
    let now = 0;
    const waits: boolean[] = [];
    // Everybody arrives in bursts of ten: after the tenth nobody comes for 10 ms.
    for (let burst = 0; burst < 400; burst++) {
      for (let i = 0; i < 10; i++) {
        now += 0.1;
        rate.arrived(1, now);
      }
      const untilMs = rate.waitUntil(3, fixedMs, perRowMs, now);
      waits.push(untilMs > now);
      if (untilMs > now) expect(rate.waitUntil(3, fixedMs, perRowMs, untilMs)).toBe(untilMs);
      rate.closed();
      now += 10;
    }
    const late = waits.slice(50).filter(Boolean).length;
    expect(late).toBeGreaterThan(0);
    expect(late).toBeLessThan(0.1 * 350);
  });
});

/** One instance that takes α + β·rows and batches whoever waits when it is free, with or without the rule. */
class Instance {
  readonly clock = new VirtualClock();
  readonly #rate = new ArrivalRate();
  readonly #follows: boolean;
  #waiting: number[] = [];
  #isBusy = false;
  #cancelWake: () => void = () => undefined;
  onAnswer: () => void = () => undefined;
  readonly latenciesMs: number[] = [];

  constructor(follows: boolean) {
    this.#follows = follows;
  }

  arrive(): void {
    const nowMs = this.clock.nowMs();
    this.#waiting.push(nowMs);
    this.#rate.arrived(1, nowMs);
    this.#look();
  }

  #look(): void {
    const nowMs = this.clock.nowMs();
    const rows = this.#waiting.length;
    if (this.#isBusy || rows === 0) return;
    this.#cancelWake();
    const untilMs = this.#follows && rows < maxRows ? this.#rate.waitUntil(rows, fixedMs, perRowMs, nowMs) : nowMs;
    if (untilMs > nowMs) {
      this.#cancelWake = this.clock.after(untilMs - nowMs, () => this.#look());
      return;
    }
    this.#rate.closed();
    const batch = this.#waiting.splice(0, maxRows);
    this.#isBusy = true;
    this.clock.after(fixedMs + perRowMs * batch.length, () => {
      this.#isBusy = false;
      for (const arrivedMs of batch) {
        this.latenciesMs.push(this.clock.nowMs() - arrivedMs);
        this.onAnswer();
      }
      this.#look();
    });
  }
}

const capacity = maxRows / (fixedMs + maxRows * perRowMs);

function poissonMeanMs(load: number, follows: boolean): number {
  const instance = new Instance(follows);
  const random = seededRandom(Math.round(1000 * load));
  const next = (): void => {
    instance.arrive();
    instance.clock.after(random.exponential(1 / (load * capacity)), next);
  };
  next();
  instance.clock.advance(60_000);
  return instance.latenciesMs.reduce((sum, ms) => sum + ms, 0) / instance.latenciesMs.length;
}

describe('waiting for one more row', () => {
  it.each([0.2, 0.3, 0.4, 0.5, 0.6])('does not make Poisson arrivals at %f of the capacity wait longer', (load) => {
    expect(poissonMeanMs(load, true)).toBeLessThan(1.01 * poissonMeanMs(load, false));
  });

  it.each([1, 2, 5])('stops in a closed loop of %i callers, where nobody else can come', (callers) => {
    const answered = (follows: boolean): number => {
      const instance = new Instance(follows);
      instance.onAnswer = () => void instance.clock.after(1, () => instance.arrive());
      for (let i = 0; i < callers; i++) instance.arrive();
      instance.clock.advance(20_000);
      return instance.latenciesMs.length;
    };
    expect(answered(true)).toBeGreaterThan(0.97 * answered(false));
  });
});
