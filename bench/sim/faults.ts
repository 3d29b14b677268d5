import type { Random } from '../../core/random.js';
import type { SimWorker } from './sim-worker.js';

/** Something that befalls a worker. Times in virtual milliseconds from the start of the load. */
export type Fault = { readonly atMs: number; readonly worker: number } & (
  | { readonly kind: 'slow'; readonly factor: number; readonly forMs: number }
  | { readonly kind: 'stall' | 'die' | 'lose-cancels'; readonly forMs: number }
  | { readonly kind: 'crash-executor'; readonly which: number; readonly forMs: number }
  | { readonly kind: 'drain' | 'break-link' }
);

export function inflict(fault: Fault, worker: SimWorker): void {
  switch (fault.kind) {
    case 'slow':
      worker.slowDown(fault.factor, fault.forMs);
      break;
    case 'stall':
      worker.stall(fault.forMs);
      break;
    case 'die':
      worker.die(fault.forMs);
      break;
    case 'lose-cancels':
      worker.loseCancels(fault.forMs);
      break;
    case 'crash-executor':
      worker.crashExecutor(fault.which, fault.forMs);
      break;
    case 'drain':
      worker.drain();
      break;
    case 'break-link':
      worker.breakLink();
      break;
  }
}

export function faultText(fault: Fault): string {
  const forMs = 'forMs' in fault ? fault.forMs : 0;
  const lasts = forMs === 0 ? '' : Number.isFinite(forMs) ? ` for ${forMs.toFixed(0)} ms` : ' for good';
  return fault.kind === 'slow' ? `slow (${fault.factor.toFixed(2)} of its speed)${lasts}` : `${fault.kind}${lasts}`;
}

/** `count` faults between two instants, each ending before `lastEndMs`; ascending. */
export function drawFaults(
  count: number,
  workers: number,
  window: { readonly fromMs: number; readonly toMs: number; readonly lastEndMs: number },
  random: Random,
): readonly Fault[] {
  const faults = Array.from({ length: count }, (): Fault => {
    const atMs = window.fromMs + random.next() * (window.toMs - window.fromMs);
    const worker = random.int(workers);
    const forMs = Math.min(100 + random.exponential(900), window.lastEndMs - atMs);
    const at = { atMs, worker };
    switch (random.int(8)) {
      case 0:
        return { ...at, kind: 'slow', factor: 0.05 + 0.4 * random.next(), forMs };
      case 1:
        return { ...at, kind: 'stall', forMs };
      case 2:
      case 3:
        return { ...at, kind: 'die', forMs };
      case 4:
        return { ...at, kind: 'lose-cancels', forMs };
      case 5:
        return { ...at, kind: 'crash-executor', which: random.int(16), forMs };
      case 6:
        return { ...at, kind: 'drain' };
      default:
        return { ...at, kind: 'break-link' };
    }
  });
  return faults.sort((a, b) => a.atMs - b.atMs);
}
