import { execFileSync } from 'node:child_process';

const ip = (...args: readonly string[]): void => {
  execFileSync('ip', args, { stdio: 'pipe' });
};

/** Another host on this machine: a network namespace, connected by a cable that can be pulled. */
export class NetworkNamespace {
  readonly name = `shoal-${process.pid}`;
  /** This machine's end of the cable; the name of a network device is at most 15 characters long. */
  readonly #near = `sh${process.pid}n`;
  readonly #far = `sh${process.pid}f`;
  readonly #subnet = `10.213.${process.pid % 256}`;

  private constructor() {}

  /** Or why there can be none on this machine. */
  static make(): NetworkNamespace | string {
    const made = new NetworkNamespace();
    const { name } = made;
    try {
      ip('netns', 'add', name);
      ip('link', 'add', made.#near, 'type', 'veth', 'peer', 'name', made.#far);
      ip('link', 'set', made.#far, 'netns', name);
      ip('address', 'add', `${made.here}/24`, 'dev', made.#near);
      ip('-n', name, 'address', 'add', `${made.there}/24`, 'dev', made.#far);
      ip('-n', name, 'link', 'set', 'lo', 'up');
      ip('-n', name, 'link', 'set', made.#far, 'up');
      made.plug();
      return made;
    } catch (thrown) {
      const words = thrown instanceof Error && 'stderr' in thrown ? String(thrown.stderr) : String(thrown);
      made.remove();
      return words.trim();
    }
  }

  /** Address of this machine as seen from there. */
  get here(): string {
    return `${this.#subnet}.1`;
  }

  get there(): string {
    return `${this.#subnet}.2`;
  }

  /** Program and arguments that run another program there. */
  get through(): string[] {
    return ['ip', 'netns', 'exec', this.name];
  }

  plug(): void {
    ip('link', 'set', this.#near, 'up');
  }

  unplug(): void {
    ip('link', 'set', this.#near, 'down');
  }

  remove(): void {
    for (const args of [
      ['link', 'delete', this.#near],
      ['netns', 'delete', this.name],
    ]) {
      try {
        ip(...args);
      } catch {
        // Never made, or gone with the other one.
      }
    }
  }
}
