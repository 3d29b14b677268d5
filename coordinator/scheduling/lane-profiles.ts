import { LatencyProfile } from '../../core/latency-profile.js';

/** Shapes of one version that have a profile of their own; others go by the version's. */
const mostShapes = 32;

/** What executions of one version take, by class of device, and by shape where there are several. */
export class LaneProfiles {
  readonly #classes = new Map<string, LatencyProfile>();
  readonly #shapes = new Map<string, LatencyProfile>();

  /** Over all shapes. */
  ofClass(deviceClass: string): LatencyProfile {
    let profile = this.#classes.get(deviceClass);
    if (profile === undefined) {
      profile = new LatencyProfile();
      this.#classes.set(deviceClass, profile);
    }
    return profile;
  }

  classes(): ReadonlyMap<string, LatencyProfile> {
    return this.#classes;
  }

  /** The best there is: the shape's own if it has been seen, else the class's. A longer sequence takes longer. */
  of(deviceClass: string, shapeKey: string): LatencyProfile {
    if (shapeKey !== '') {
      const own = this.#shapes.get(`${deviceClass}|${shapeKey}`);
      if (own !== undefined) return own;
    }
    return this.ofClass(deviceClass);
  }

  observe(deviceClass: string, shapeKey: string, rows: number, ms: number): void {
    this.ofClass(deviceClass).observe(rows, ms);
    if (shapeKey === '') return;
    const key = `${deviceClass}|${shapeKey}`;
    let own = this.#shapes.get(key);
    if (own === undefined) {
      if (this.#shapes.size >= mostShapes) return;
      own = new LatencyProfile();
      // Until it knows better, so that a stall at its first execution is not all it knows.
      own.seed(this.ofClass(deviceClass).points());
      this.#shapes.set(key, own);
    }
    own.observe(rows, ms);
  }
}
